"""Routes, what their guardrails see, and those that fired: `routes/…`, `guardrails/…`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.predictions.api import ROUTES
from console.registry import services as registry_services
from console.rollout import guardrails, queries, services
from console.rollout.comparison import QUANTILES, Comparison, Reviewed, compare
from console.rollout.flipped import Seen, seen_by
from console.rollout.models import Firing, Mode, Route, Rule
from console.rollout.observations import totals
from console.rollout.route_page import firing_sentence
from console.rollout.sequential import Count, interval
from console.staff.permissions import may
from console.staff.rest import actor_of, read
from protos.wording import DISCLAIMER


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(
        max_length=registry_services.REASON_CHARACTERS_MAX, help_text="Kept in the audit trail."
    )


class RouteSerializer(serializers.ModelSerializer[Route]):
    version = serializers.CharField(source="version.version", read_only=True)
    version_id = serializers.IntegerField(read_only=True)
    weight_ratio = serializers.SerializerMethodField()
    started_by = serializers.CharField(
        source="started_by.username", read_only=True, default=None, allow_null=True, help_text="null: a guardrail."
    )

    class Meta:
        model = Route
        fields: tuple[str, ...] = (
            "id",
            "model",
            "version",
            "version_id",
            "mode",
            "weight_ratio",
            "started_at",
            "started_by",
            "reason",
            "ended_at",
            "end_reason",
            "unguarded",
        )

    def get_weight_ratio(self, route: Route) -> float:
        if route.ended_at is not None:
            return 0.0
        served = self._served.get(route.model)  # None: it ended since it was read
        return 0.0 if served is None else served.weight_ratio(route)

    @cached_property
    def _served(self) -> Mapping[str, queries.Served]:
        """What is in force: one query, however many routes are shown."""
        return {served.model: served for served in queries.served_models()}


class RouteFilter(filters.FilterSet):
    version = filters.CharFilter(field_name="version__version")
    ended = filters.BooleanFilter(method="as_it_is", help_text="Those that ended, instead of those in force.")

    class Meta:
        model = Route
        fields = ("model", "mode")

    def as_it_is(self, routes: QuerySet[Route], _name: str, _ended: bool) -> QuerySet[Route]:
        return routes

    def filter_queryset(self, queryset: QuerySet[Route]) -> QuerySet[Route]:
        """In force where nothing is said."""
        found: QuerySet[Route] = super().filter_queryset(queryset)
        return found.filter(ended_at__isnull=not self.form.cleaned_data["ended"])


class RouteList(generics.ListAPIView[Route]):
    """Routes that are in force; `?ended=true`: those that were, for the history of a version or of a model."""

    permission_classes = (may("rollout.view_route"),)
    serializer_class = RouteSerializer
    page_order = ("model", "pk")
    queryset = queries.routes()
    filterset_class = RouteFilter


class ShareSerializer(serializers.Serializer[Any]):
    """A share of yes among answers, with the interval that holds at every moment at once."""

    yes = serializers.IntegerField()
    n = serializers.IntegerField()
    low = serializers.FloatField()
    high = serializers.FloatField()


class ReadingSerializer(serializers.Serializer[Any]):
    rule = serializers.ChoiceField(choices=Rule.choices)
    limit = serializers.FloatField()
    count_min = serializers.IntegerField()
    watched = ShareSerializer()
    production = ShareSerializer(allow_null=True)
    evidence_ratio = serializers.FloatField(help_text="Of what it takes to fire, 0 to 1.")
    off = serializers.BooleanField()


class FlipSerializer(serializers.Serializer[Any]):
    production = serializers.CharField()
    shadow = serializers.CharField()
    count = serializers.IntegerField()
    ratio = serializers.FloatField(help_text="Of the photographs that production gave its class.")


class SideSerializer(serializers.Serializer[Any]):
    """Production's or the shadow's answers to the photographs that both answered."""

    out_of_distribution = ShareSerializer()
    latency_ms = serializers.DictField(child=serializers.FloatField(allow_null=True), help_text="p50, p95, p99")
    right = ShareSerializer(allow_null=True, help_text="Of those that experts gave a class: no random sample.")
    confidence_gap = serializers.FloatField(allow_null=True, help_text="Mean confidence less the share of right ones.")
    brier = serializers.FloatField(allow_null=True)


class FlippedSerializer(serializers.Serializer[Any]):
    """One photograph of which the two say something else."""

    prediction_id = serializers.UUIDField(source="answer.prediction_id")
    request_id = serializers.CharField(source="answer.request_id", help_text='The caller\'s own; "": none was sent.')
    happened_at = serializers.DateTimeField(source="answer.happened_at")
    production = serializers.CharField(source="answer.production", help_text="The class that it gave.")
    production_confidence = serializers.FloatField(source="answer.production_confidence")
    shadow = serializers.CharField(source="answer.shadow")
    shadow_confidence = serializers.FloatField(source="answer.shadow_confidence")
    photograph = serializers.SerializerMethodField(
        help_text="Address of its first view; null: none is kept, or not for you."
    )
    why_not = serializers.CharField(help_text='Why there is no photograph, for a person; "" where there is one.')

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_photograph(self, seen: Seen) -> str | None:
        request: Request = self.context["request"]
        return request.build_absolute_uri(seen.photograph) if seen.photograph else None


class ComparisonSerializer(serializers.Serializer[Any]):
    same_class = ShareSerializer()
    unanswered = serializers.IntegerField(help_text="Photographs that production alone answered so far.")
    flips = FlipSerializer(many=True)
    production = SideSerializer()
    shadow = SideSerializer()
    flipped = FlippedSerializer(
        many=True, help_text="The newest few photographs of which they say something else, without what is withheld."
    )
    disclaimer = serializers.DictField(child=serializers.CharField(), help_text="Language -> what to show beside it.")


class FiringSerializer(serializers.ModelSerializer[Firing]):
    model = serializers.CharField(source="route.model", read_only=True)
    version = serializers.CharField(source="route.version.version", read_only=True)
    mode = serializers.CharField(source="route.mode", read_only=True)
    returned_to = serializers.CharField(source="returned_to.version", read_only=True, default=None, allow_null=True)
    seen_by = serializers.CharField(source="seen_by.username", read_only=True, default=None, allow_null=True)
    sentence = serializers.SerializerMethodField()

    class Meta:
        model = Firing
        fields = (
            "id",
            "route_id",
            "model",
            "version",
            "mode",
            "rule",
            "fired_at",
            "sentence",
            "returned_to",
            "seen_by",
            "seen_at",
        )

    def get_sentence(self, firing: Firing) -> str:
        return firing_sentence(firing)


class WholeRouteSerializer(RouteSerializer):
    guardrails = serializers.SerializerMethodField()
    comparison = serializers.SerializerMethodField(help_text="For a shadow.")

    class Meta(RouteSerializer.Meta):
        fields = (*RouteSerializer.Meta.fields, "guardrails", "comparison")

    @extend_schema_field(ReadingSerializer(many=True))
    def get_guardrails(self, route: Route) -> list[dict[str, Any]]:
        return [
            {
                "rule": reading.definition.rule,
                "limit": reading.definition.limit,
                "count_min": reading.definition.count_min,
                "watched": _share(reading.watched),
                "production": _share(reading.standard) if reading.standard else None,
                "evidence_ratio": reading.progress,
                "off": reading.is_off,
            }
            for reading in guardrails.read(route, fresh=False)
        ]

    @extend_schema_field(ComparisonSerializer(allow_null=True))
    def get_comparison(self, route: Route) -> dict[str, Any] | None:
        if route.mode != Mode.SHADOW:
            return None
        found = compare(route, totals(route))
        seen = seen_by(actor_of(self.context["request"]), found.flipped, routes=ROUTES)
        flipped = FlippedSerializer(seen, many=True, context=self.context).data
        return {**_comparison(found), "flipped": flipped, "disclaimer": dict(DISCLAIMER)}


class RouteDetail(generics.RetrieveAPIView[Route]):
    """A route, in force or past: what its guardrails see, and how a shadow compares with production."""

    permission_classes = (may("rollout.view_route"),)
    serializer_class = WholeRouteSerializer
    queryset = Route.objects.select_related("version", "started_by")


class RouteEnd(APIView):
    @extend_schema(request=ReasonSerializer, responses=RouteSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """End a canary or a shadow."""
        wanted = read(ReasonSerializer, request)
        route = services.end_route(actor=actor_of(request), route_id=pk, reason=wanted["reason"])
        route.refresh_from_db()
        return Response(RouteSerializer(route).data)


class GuardrailList(generics.ListAPIView[Firing]):
    """Guardrails that fired, newest first."""

    permission_classes = (may("rollout.view_route"),)
    serializer_class = FiringSerializer
    page_order = ("-fired_at", "-pk")
    queryset = queries.firings()
    filterset_fields = ("rule",)


class GuardrailSeen(APIView):
    @extend_schema(request=None, responses=FiringSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Take note: it leaves the home page."""
        return Response(FiringSerializer(services.see_firing(actor=actor_of(request), firing_id=pk)).data)


def _share(count: Count) -> dict[str, Any]:
    low, high = interval(count)
    return {"yes": count.yes, "n": count.n, "low": low, "high": high}


def _comparison(found: Comparison) -> dict[str, Any]:
    def side(place: int, reviewed: Reviewed | None) -> dict[str, Any]:
        return {
            "out_of_distribution": _share(found.out[place]),
            "latency_ms": {
                f"p{ratio * 100:.0f}": value for ratio, value in zip(QUANTILES, found.latency_ms[place], strict=True)
            },
            "right": _share(reviewed.right) if reviewed else None,
            "confidence_gap": reviewed.gap if reviewed else None,
            "brier": reviewed.brier if reviewed else None,
        }

    return {
        "same_class": _share(found.same_class),
        "unanswered": found.unanswered,
        "flips": [
            {"production": flip.production, "shadow": flip.shadow, "count": flip.count, "ratio": flip.ratio}
            for flip in found.flips
        ],
        "production": side(0, found.reviewed[0] if found.reviewed else None),
        "shadow": side(1, found.reviewed[1] if found.reviewed else None),
    }
