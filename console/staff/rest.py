"""What every view of ours begins with: who asks, and for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from console.staff.field_words import reworded
from console.staff.models import User

# DRF reads "5" as a number, 5 as a text and "yes" as true. The first that fits a field is its JSON type.
_JSON_TYPES: Final[tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], tuple[type, ...], str], ...]] = (
    (serializers.BooleanField, (bool,), gettext_noop("true or false")),
    (serializers.IntegerField, (int,), gettext_noop("a whole number")),
    (serializers.FloatField, (int, float), gettext_noop("a number")),
    (serializers.ListField, (list,), gettext_noop("a list")),
    (serializers.MultipleChoiceField, (list,), gettext_noop("a list")),
    (serializers.CharField, (str,), gettext_noop("a text")),
    (serializers.ChoiceField, (str,), gettext_noop("a text")),
    (serializers.DateTimeField, (str,), gettext_noop("a text")),
)


def actor_of(request: HttpRequest | Request) -> User:
    """The member of staff who calls; the views that use this are reached by nobody else."""
    assert isinstance(request.user, User)
    return request.user


def read(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The request's body as this serializer reads it. Raises DRF's ValidationError naming the field.

    A field that the serializer does not have is refused: a mistyped setting would else be ignored in silence.
    So is a value of another JSON type than the OpenAPI document says, which DRF would make fit.
    """
    reading = serializer(data=request.data)
    if isinstance(request.data, Mapping):
        for name, value in request.data.items():
            if name not in reading.fields:
                known = ", ".join(reading.fields)
                raise ValidationError(
                    {str(name): [_("There is no such field; there are: {names}.").format(names=known)]}
                )
            _check_type(reading.fields[name], value, name)
    return checked(reading)


def checked(reading: serializers.Serializer[Any]) -> dict[str, Any]:
    """What a serializer has read. Raises DRF's ValidationError, in our words."""
    if not reading.is_valid():
        raise ValidationError(reworded(reading, reading.errors))
    values: dict[str, Any] = reading.validated_data
    return values


def _check_type(field: serializers.Field[Any, Any, Any, Any], value: Any, name: str) -> None:
    if value is None:
        return  # whether that may be, the field knows
    wanted = next(((types, text) for kind, types, text in _JSON_TYPES if isinstance(field, kind)), None)
    if wanted is None:
        return
    types, text = wanted
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValidationError({name: [_("This must be {what}.").format(what=_(text))]})
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        for number, item in enumerate(value):
            _check_type(field.child, item, f"{name}.{number}")
