"""Free text for scripts: `privacy/typed/find/` by what it says, `privacy/typed/erase/` one text wherever it stands."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.privacy import by_hand
from console.privacy.by_hand import Ground
from console.staff.permissions import may
from console.staff.rest import actor_of, read

_KEY_MAX = 64


class PartSerializer(serializers.Serializer[Any]):
    part = serializers.CharField(
        min_length=by_hand.PART_MIN, max_length=by_hand.PART_MAX, help_text="A name, or part of one; kept nowhere."
    )


class FoundSerializer(serializers.Serializer[Any]):
    place = serializers.CharField(help_text="`audit_entry`, or table and field.")
    key = serializers.CharField(help_text="Number or id of the row; sequence of the entry.")
    text = serializers.CharField()


class FoundListSerializer(serializers.Serializer[Any]):
    found = FoundSerializer(many=True)
    more = serializers.BooleanField(help_text="There are more than these.")


class EraseTypedSerializer(serializers.Serializer[Any]):
    place = serializers.CharField(max_length=_KEY_MAX)
    key = serializers.CharField(max_length=_KEY_MAX)
    ground = serializers.ChoiceField(choices=Ground.choices)
    request = serializers.IntegerField(
        default=None,
        allow_null=True,
        min_value=1,
        max_value=2**63 - 1,
        help_text="Number of the privacy request that asked for it; must be there where that is the ground.",
    )


class ErasedPlaceSerializer(serializers.Serializer[Any]):
    place = serializers.CharField()
    key = serializers.CharField()


class ErasedSerializer(serializers.Serializer[Any]):
    erased = ErasedPlaceSerializer(many=True, help_text="Wherever exactly this text stood.")


class FindTyped(APIView):
    permission_classes = (may(by_hand.ERASE),)

    @extend_schema(request=PartSerializer, responses=FoundListSerializer)
    def post(self, request: Request) -> Response:
        """Reasons, notes and comments that have this in them. By POST: a name is no part of an address."""
        given = read(PartSerializer, request)
        found, more = by_hand.find(actor=actor_of(request), part=given["part"])
        return Response(FoundListSerializer({"found": found, "more": more}).data)


class EraseTyped(APIView):
    permission_classes = (may(by_hand.ERASE),)

    @extend_schema(request=EraseTypedSerializer, responses=ErasedSerializer)
    def post(self, request: Request) -> Response:
        """Erase the text of this place, wherever exactly it stands. There is no way back."""
        given = read(EraseTypedSerializer, request)
        copies = by_hand.erase(
            actor=actor_of(request),
            place=given["place"],
            key=given["key"],
            ground=given["ground"],
            request_id=given["request"],
        )
        entries = [{"place": by_hand.ENTRY, "key": str(typed.sequence)} for typed in copies.entries]
        rows = [{"place": place, "key": key} for place, key in copies.rows]
        return Response(ErasedSerializer({"erased": entries + rows}).data)
