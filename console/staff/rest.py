"""What every view of ours begins with: who asks, and for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from console.staff.models import User


def actor_of(request: HttpRequest | Request) -> User:
    """The member of staff who calls; the views that use this are reached by nobody else."""
    assert isinstance(request.user, User)
    return request.user


def read(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """The request's body as this serializer reads it. Raises DRF's ValidationError naming the field.

    A field that the serializer does not have is refused: a mistyped setting would else be ignored in silence.
    """
    reading = serializer(data=request.data)
    if isinstance(request.data, Mapping):
        for name in request.data:
            if name not in reading.fields:
                raise ValidationError({str(name): [f"There is no such field; there are: {', '.join(reading.fields)}."]})
    reading.is_valid(raise_exception=True)
    values: dict[str, Any] = reading.validated_data
    return values
