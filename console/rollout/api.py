"""Versions and what becomes of them, for scripts: `versions/…`, `models/{name}/rollback/`, `routes/…`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import django_filters
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.errors import Invalid
from console.registry import comparison
from console.registry import services as registry_services
from console.registry.api import VersionSerializer
from console.registry.models import ModelVersion, State
from console.rollout import experiments, guardrails, queries, services
from console.rollout.comparison import QUANTILES, Comparison, Reviewed, compare
from console.rollout.models import Experiment, Firing, Measure, Mode, Route, Rule
from console.rollout.observations import totals
from console.rollout.route_page import firing_sentence
from console.rollout.sequential import Count, interval
from console.rollout.then_page import instant
from console.rollout.time_machine import Then, look
from console.staff.permissions import may
from console.staff.rest import actor_of, read
from console.torchserve import connections
from model_store.card import MetricCard


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(
        max_length=registry_services.REASON_CHARACTERS_MAX, help_text="Kept in the audit trail."
    )


class RolloutSerializer(ReasonSerializer):
    mode = serializers.ChoiceField(choices=Mode.choices)
    weight_ratio = serializers.FloatField(
        min_value=0.0, max_value=1.0, default=None, allow_null=True, help_text="A canary's share of the calls."
    )
    unguarded = serializers.MultipleChoiceField(
        choices=Rule.choices, default=set, help_text="Guardrails that shall not end it, of those that watch this mode."
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
        served = self.context.get("served") or queries.served_model(route.model)
        return served.weight_ratio(route)


class VersionFilter(django_filters.FilterSet):
    state = django_filters.ChoiceFilter(choices=State.choices)

    class Meta:
        model = ModelVersion
        fields = ("model", "version", "state")


class VersionList(generics.ListAPIView[ModelVersion]):
    """Versions, newest first; `?version=NAME`, `?model=NAME`, `?state=approved`."""

    permission_classes = (may("registry.view_modelversion"),)
    serializer_class = VersionSerializer
    queryset = queries.versions_with_routes()
    filterset_class = VersionFilter


class VersionDetail(generics.RetrieveAPIView[ModelVersion]):
    permission_classes = (may("registry.view_modelversion"),)
    serializer_class = VersionSerializer
    queryset = queries.versions_with_routes()


class VersionApproval(APIView):
    @extend_schema(request=ReasonSerializer, responses=VersionSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Approve a smoke-tested version. Whoever uploaded it may not."""
        wanted = read(ReasonSerializer, request)
        registry_services.approve_version(actor=actor_of(request), version_id=pk, reason=wanted["reason"])
        return _version(pk)


class VersionRollout(APIView):
    @extend_schema(request=RolloutSerializer, responses=VersionSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Give an approved version its part; the answer comes when the version is ready and the route in force."""
        wanted = read(RolloutSerializer, request)
        services.roll_out(
            actor=actor_of(request),
            version_id=pk,
            mode=Mode(wanted["mode"]),
            weight_ratio=wanted["weight_ratio"],
            unguarded=[Rule(rule) for rule in wanted["unguarded"]],
            reason=wanted["reason"],
            backend=connections.management,
        )
        return _version(pk)


class VersionRetry(APIView):
    @extend_schema(request=None, responses=VersionSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Smoke-test a failed version once more."""
        registry_services.retry_smoke_test(actor=actor_of(request), version_id=pk)
        return _version(pk)


class VersionRetirement(APIView):
    @extend_schema(request=ReasonSerializer, responses=VersionSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Retire an approved version that has no route."""
        services.retire(actor=actor_of(request), version_id=pk, reason=read(ReasonSerializer, request)["reason"])
        return _version(pk)


class ModelRollback(APIView):
    @extend_schema(request=ReasonSerializer, responses=VersionSerializer)
    def post(self, request: Request, model: str) -> Response:
        """End the canary, or bring the production version before this one back. Answers with what is in production."""
        wanted = read(ReasonSerializer, request)
        route = services.roll_back(actor=actor_of(request), model=model, reason=wanted["reason"])
        return _version(route.version_id)


class RouteList(generics.ListAPIView[Route]):
    """Routes that are in force."""

    permission_classes = (may("rollout.view_route"),)
    serializer_class = RouteSerializer
    queryset = queries.routes_in_force().order_by("model", "pk")
    filterset_fields = ("model", "mode")


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


class ComparisonSerializer(serializers.Serializer[Any]):
    same_class = ShareSerializer()
    unanswered = serializers.IntegerField(help_text="Photographs that production alone answered so far.")
    flips = FlipSerializer(many=True)
    production = SideSerializer()
    shadow = SideSerializer()


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
            for reading in guardrails.read(route)
        ]

    @extend_schema_field(ComparisonSerializer(allow_null=True))
    def get_comparison(self, route: Route) -> dict[str, Any] | None:
        return _comparison(compare(route, totals(route))) if route.mode == Mode.SHADOW else None


class RouteDetail(generics.RetrieveAPIView[Route]):
    """A route, in force or past: what its guardrails see, and how a shadow compares with production."""

    permission_classes = (may("rollout.view_route"),)
    serializer_class = WholeRouteSerializer
    queryset = Route.objects.select_related("version", "started_by")


class GuardrailList(generics.ListAPIView[Firing]):
    """Guardrails that fired, newest first."""

    permission_classes = (may("rollout.view_route"),)
    serializer_class = FiringSerializer
    queryset = queries.firings()
    filterset_fields = ("rule",)


class GuardrailSeen(APIView):
    @extend_schema(request=None, responses=FiringSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Take note: it leaves the home page."""
        return Response(FiringSerializer(services.see_firing(actor=actor_of(request), firing_id=pk)).data)


class FigureSerializer(serializers.Serializer[Any]):
    value = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    measured_on = serializers.CharField()


class MetricPairSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    a = FigureSerializer(allow_null=True)
    b = FigureSerializer(allow_null=True)
    better = serializers.ChoiceField(
        choices=[str(each) for each in comparison.Better],
        help_text="Said only where both were measured on the same photographs and the intervals do not meet.",
    )


class VersionPairSerializer(serializers.Serializer[Any]):
    a = serializers.CharField()
    b = serializers.CharField()
    metrics = MetricPairSerializer(many=True)
    photographs = serializers.DictField(
        child=serializers.ListField(child=serializers.IntegerField(allow_null=True), min_length=2, max_length=2),
        help_text="Class -> how many each learnt from; null where it does not know the class.",
    )
    facts = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField(), min_length=2, max_length=2)
    )
    settings = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField(), min_length=2, max_length=2),
        help_text="Training settings that differ.",
    )


class RankedSerializer(FigureSerializer):
    id = serializers.IntegerField()
    version = serializers.CharField()
    may_be_best = serializers.BooleanField(help_text="Its interval reaches the best one's, on the same photographs.")


class VersionCompare(APIView):
    permission_classes = (may("registry.view_modelversion"),)

    @extend_schema(
        parameters=[OpenApiParameter(name, int, required=True) for name in ("a", "b")],
        responses=VersionPairSerializer,
    )
    def get(self, request: Request) -> Response:
        """Two versions of a model side by side, by their ids."""
        one, other = (registry_services.find_version(_id(request, name)) for name in ("a", "b"))
        found = comparison.compare(one, other)
        return Response(
            {
                "a": one.version,
                "b": other.version,
                "metrics": [
                    {"name": pair.name, "a": _figure(pair.first), "b": _figure(pair.second), "better": pair.better}
                    for pair in found.metrics
                ],
                "photographs": {item.class_id: [item.first, item.second] for item in found.classes},
                "facts": {name: [mine, others] for name, mine, others in found.facts},
                "settings": {name: [mine, others] for name, mine, others in found.settings},
            }
        )


class VersionRanking(APIView):
    permission_classes = (may("registry.view_modelversion"),)

    @extend_schema(
        parameters=[OpenApiParameter("model", str, required=True), OpenApiParameter("metric", str, required=True)],
        responses=RankedSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """The versions of a model by one metric of their cards, the best first."""
        model, metric = (request.query_params.get(name, "") for name in ("model", "metric"))
        known = comparison.metric_names(model)
        if metric not in known:
            raise Invalid(f"a metric of {model} is one of: {', '.join(known) or 'none yet'}", field="metric")
        return Response(
            [
                {
                    "id": item.version.pk,
                    "version": item.version.version,
                    "may_be_best": item.may_be_best,
                    **(_figure(item.metric) or {}),
                }
                for item in comparison.best(metric, model=model)
            ]
        )


class DetectorSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    unsure_at = serializers.FloatField()
    out_at = serializers.FloatField()


class PartSerializer(serializers.Serializer[Any]):
    version_id = serializers.IntegerField()
    version = serializers.CharField()
    mode = serializers.ChoiceField(choices=Mode.choices)
    share_ratio = serializers.FloatField()
    sha256 = serializers.CharField()
    temperature = serializers.FloatField()
    confidence_min = serializers.FloatField(source="limits.confidence_min")
    margin_min = serializers.FloatField(source="limits.margin_min")
    detectors = DetectorSerializer(source="limits.detectors", many=True)
    approved_by = serializers.CharField()
    approved_at = serializers.DateTimeField(allow_null=True)
    approval_reason = serializers.CharField()
    route_id = serializers.IntegerField()
    since = serializers.DateTimeField()
    started_by = serializers.CharField(help_text="Empty: a guardrail brought it back.")
    reason = serializers.CharField()


class AnsweredSerializer(serializers.Serializer[Any]):
    prediction_id = serializers.UUIDField()
    happened_at = serializers.DateTimeField()
    model = serializers.CharField()
    version = serializers.CharField()
    policy = serializers.IntegerField(allow_null=True)


class ThenSerializer(serializers.Serializer[Any]):
    client = serializers.CharField()
    at = serializers.DateTimeField()
    model = serializers.CharField()
    permitted = serializers.BooleanField(allow_null=True)
    policy_revision = serializers.SerializerMethodField()
    policy_digest = serializers.SerializerMethodField()
    parts = PartSerializer(many=True)
    answers = AnsweredSerializer(many=True, help_text="The client's last answers up to that instant.")

    def get_policy_revision(self, then: Then) -> int | None:
        return then.policy[0] if then.policy else None

    def get_policy_digest(self, then: Then) -> str | None:
        return then.policy[1] if then.policy else None


class RoutesThen(APIView):
    permission_classes = (may("rollout.view_route"),)

    @extend_schema(
        parameters=[
            OpenApiParameter("client", str, required=True, description="Name or id."),
            OpenApiParameter("at", datetime, required=True, description="Without an offset: the console's own time."),
            OpenApiParameter("model", str, description="Needed where the client might ask several."),
        ],
        responses=ThenSerializer,
    )
    def get(self, request: Request) -> Response:
        """What answered a client at an instant, with which thresholds, and who had approved it."""
        asked = request.query_params
        at = instant(asked.get("at", ""))
        if at is None:
            raise Invalid("at is a day and a time, as 2026-01-31T09:30:00+07:00", field="at")
        found = look(client=asked.get("client", ""), at=at, model=asked.get("model", ""))
        return Response(ThenSerializer(found).data)


class ExperimentSerializer(serializers.ModelSerializer[Experiment]):
    model = serializers.CharField(source="route.model", read_only=True)
    version = serializers.CharField(source="route.version.version", read_only=True)
    watched = serializers.SerializerMethodField(help_text="Good answers of the new version.")
    production = serializers.SerializerMethodField(help_text="Good answers of production.")

    class Meta:
        model = Experiment
        fields = (
            "id",
            "route_id",
            "model",
            "version",
            "hypothesis",
            "measure",
            "baseline_ratio",
            "effect_ratio",
            "alpha",
            "power",
            "size",
            "looks_done",
            "outcome",
            "settled_at",
            "watched",
            "production",
        )

    @extend_schema_field(ShareSerializer)
    def get_watched(self, experiment: Experiment) -> dict[str, Any]:
        return _share(experiments.stand(experiment).watched)

    @extend_schema_field(ShareSerializer)
    def get_production(self, experiment: Experiment) -> dict[str, Any]:
        return _share(experiments.stand(experiment).standard)


class NewExperimentSerializer(ReasonSerializer):
    hypothesis = serializers.CharField(max_length=registry_services.REASON_CHARACTERS_MAX)
    measure = serializers.ChoiceField(choices=Measure.choices)
    baseline_ratio = serializers.FloatField(help_text="What production is expected to reach, 0 to 1.")
    effect_ratio = serializers.FloatField(help_text="The smallest improvement that matters.")
    share_ratio = serializers.FloatField(help_text="Of the calls, for the new version.")
    answers_max = serializers.IntegerField(
        min_value=1, default=None, allow_null=True, help_text="Refuse if the question takes more answers."
    )


class VersionExperiment(APIView):
    @extend_schema(request=NewExperimentSerializer, responses={201: ExperimentSerializer})
    def post(self, request: Request, pk: int) -> Response:
        """Make an approved version a canary with a question; the number of answers it takes is in the answer."""
        wanted = read(NewExperimentSerializer, request)
        reason = wanted.pop("reason")
        plan = experiments.Plan(**{**wanted, "measure": Measure(wanted["measure"])})
        started = experiments.start(
            actor=actor_of(request), version_id=pk, plan=plan, reason=reason, backend=connections.management
        )
        return Response(ExperimentSerializer(started).data, status=status.HTTP_201_CREATED)


class ExperimentList(generics.ListAPIView[Experiment]):
    """Experiments, newest first."""

    permission_classes = (may("rollout.view_experiment"),)
    serializer_class = ExperimentSerializer
    queryset = Experiment.objects.select_related("route__version").order_by("-pk")
    filterset_fields = ("outcome", "measure")


class ExperimentDetail(generics.RetrieveAPIView[Experiment]):
    """One experiment, with what has been seen so far."""

    permission_classes = (may("rollout.view_experiment"),)
    serializer_class = ExperimentSerializer
    queryset = Experiment.objects.select_related("route__version")


class RouteEnd(APIView):
    @extend_schema(request=ReasonSerializer, responses=RouteSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """End a canary or a shadow."""
        wanted = read(ReasonSerializer, request)
        route = services.end_route(actor=actor_of(request), route_id=pk, reason=wanted["reason"])
        route.refresh_from_db()
        return Response(RouteSerializer(route).data)


def _id(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not text.isdecimal() or len(text) > 15:
        raise Invalid(f"{name} is the number of a version", field=name)
    return int(text)


def _figure(metric: MetricCard | None) -> dict[str, Any] | None:
    if metric is None:
        return None
    return {"value": metric.value, "low": metric.low, "high": metric.high, "measured_on": metric.data}


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


def _version(pk: int) -> Response:
    return Response(VersionSerializer(queries.versions_with_routes().get(pk=pk)).data)


urlpatterns = [
    path("versions/", VersionList.as_view()),
    path("versions/compare/", VersionCompare.as_view()),
    path("versions/best/", VersionRanking.as_view()),
    path("versions/<int:pk>/", VersionDetail.as_view()),
    path("versions/<int:pk>/approve/", VersionApproval.as_view()),
    path("versions/<int:pk>/rollout/", VersionRollout.as_view()),
    path("versions/<int:pk>/retry/", VersionRetry.as_view()),
    path("versions/<int:pk>/retire/", VersionRetirement.as_view()),
    path("versions/<int:pk>/experiment/", VersionExperiment.as_view()),
    path("experiments/", ExperimentList.as_view()),
    path("experiments/<int:pk>/", ExperimentDetail.as_view()),
    path("models/<str:model>/rollback/", ModelRollback.as_view()),
    path("routes/", RouteList.as_view()),
    path("routes/then/", RoutesThen.as_view()),
    path("routes/<int:pk>/", RouteDetail.as_view()),
    path("routes/<int:pk>/end/", RouteEnd.as_view()),
    path("guardrails/", GuardrailList.as_view()),
    path("guardrails/<int:pk>/seen/", GuardrailSeen.as_view()),
]
