"""The home page for scripts: what needs a person now, as it says it to whoever calls (`waiting/`); whether everything
runs (`health/`); traffic, verdicts and confidence over time (`traffic/`).
"""

from __future__ import annotations

from typing import Any

from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.predictions.models import Span
from console.pulse.models import Service
from console.pulse.queries import SILENT_AFTER, Health, ServiceState, service_states
from console.site.cards import Card, Number, cards_for
from console.site.home import Thing, Waiting, waiting_for
from console.site.traffic import DAYS, HOURS, OfVersion, by_version
from console.staff.permissions import may
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


class ServiceStateSerializer(serializers.Serializer[ServiceState]):
    service = serializers.ChoiceField(choices=[(service.value, service.value) for service in Service])
    name = serializers.CharField(allow_blank=True, help_text="Which of them, where there may be several.")
    health = serializers.ChoiceField(
        choices=[(health.value, health.value) for health in Health],
        help_text=f"silent: nothing was heard for {SILENT_AFTER.seconds} s. unwell: it lives, and `problem` says more.",
    )
    heard_at = serializers.DateTimeField(allow_null=True, help_text="Last; null: never.")
    problem = serializers.CharField(allow_blank=True, help_text="What it says itself, for a person.")


class ServicesSerializer(serializers.Serializer[Any]):
    services = ServiceStateSerializer(many=True)


class Services(APIView):
    permission_classes = (IsAuthenticated,)  # home says it to everybody

    @extend_schema(responses=ServicesSerializer)
    def get(self, request: Request) -> Response:
        """Whether everything runs, as home says it: the last sign of life of each process that is listened to."""
        return Response(ServicesSerializer({"services": service_states()}).data)


class VerdictCountsSerializer(serializers.Serializer[Any]):
    IN_DOMAIN = serializers.IntegerField()
    UNSURE = serializers.IntegerField()
    OUT_OF_DISTRIBUTION = serializers.IntegerField()


class OfVersionSerializer(serializers.Serializer[OfVersion]):
    """What a version answered in the span that begins then."""

    begins_at = serializers.DateTimeField()
    version = serializers.CharField()
    verdicts = serializers.SerializerMethodField()
    low = serializers.FloatField(help_text="Of the confidence: a tenth of the answers lie below it.")
    middle = serializers.FloatField(help_text="Half of them do.")
    high = serializers.FloatField(help_text="Nine tenths do.")

    @extend_schema_field(VerdictCountsSerializer)
    def get_verdicts(self, found: OfVersion) -> dict[str, int]:
        return {verdict.name: count for verdict, count in found.verdicts.items()}


class TrafficSerializer(serializers.Serializer[Any]):
    hours = OfVersionSerializer(many=True, help_text=f"Of the last {HOURS}, where there was any.")
    days = OfVersionSerializer(many=True, help_text=f"Of the last {DAYS}; a day begins at midnight at the console's.")


class Traffic(APIView):
    permission_classes = (may("predictions.view_prediction"),)

    @extend_schema(responses=TrafficSerializer)
    def get(self, request: Request) -> Response:
        """Answers, verdicts and confidence of each version over time, as home draws them."""
        found = by_version()
        return Response(TrafficSerializer({"hours": found[Span.HOUR], "days": found[Span.DAY]}).data)


urlpatterns = [
    path("waiting/", WhatWaits.as_view()),
    path("health/", Services.as_view()),
    path("traffic/", Traffic.as_view()),
]
