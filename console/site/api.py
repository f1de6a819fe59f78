"""What needs a person now, for scripts: `waiting/`, as the home page says it to whoever calls."""

from __future__ import annotations

from typing import Any

from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.site.home import Card, Number, Thing, Waiting, cards_for, waiting_for
from console.staff.rest import actor_of


class _WithPage(serializers.Serializer[Any]):
    page = serializers.SerializerMethodField(help_text="Where a person sees to it.")

    @extend_schema_field(serializers.URLField())
    def get_page(self, shown: Card | Waiting) -> str:
        address: str = self.context["request"].build_absolute_uri(shown.url)
        return address


class WaitingNumberSerializer(_WithPage):
    what = serializers.ChoiceField(choices=[(number.value, number.value) for number in Number])
    number = serializers.IntegerField()
    text = serializers.CharField(help_text="What it counts, for a person.")
    is_late = serializers.BooleanField(help_text="Some of it should have been seen to by now.")


class WaitingThingSerializer(_WithPage):
    what = serializers.ChoiceField(choices=[(thing.value, thing.value) for thing in Thing])
    id = serializers.IntegerField(help_text="As the other addresses of this interface name it.")
    text = serializers.CharField()
    why = serializers.CharField(help_text="For a person, too.")
    since = serializers.DateTimeField()


class WhatWaitsSerializer(serializers.Serializer[Any]):
    numbers = WaitingNumberSerializer(many=True, help_text="Of what you may see.")
    longest = WaitingThingSerializer(many=True, help_text="What waits for your role: the most urgent few of each kind.")


class WhatWaits(APIView):
    permission_classes = (IsAuthenticated,)  # each sees what their roles may

    @extend_schema(responses=WhatWaitsSerializer)
    def get(self, request: Request) -> Response:
        """What needs a person now, of what you may see and do; its cost does not grow with the history."""
        person = actor_of(request)
        cards, _entries = cards_for(person)
        found = {"numbers": cards, "longest": waiting_for(person)}
        return Response(WhatWaitsSerializer(found, context={"request": request}).data)


urlpatterns = [path("waiting/", WhatWaits.as_view())]
