"""Versions and what becomes of them, for scripts: `versions/…`, `models/{name}/rollback/`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import django_filters
from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.datasets.queries import LearntFrom, learnt_from
from console.errors import Invalid, NotFound
from console.filtering import PartOf
from console.registry import comparison
from console.registry import services as registry_services
from console.registry.api import VersionSerializer
from console.registry.golden import CONTENT_TYPE, Golden, golden_of, may_open, open_golden
from console.registry.models import ModelVersion, State
from console.rollout import queries, services
from console.rollout.models import Mode, Rule
from console.rollout.route_api import ReasonSerializer, RouteSerializer
from console.staff.permissions import may
from console.staff.rest import actor_of, read
from console.torchserve import connections
from model_store.card import MetricCard
from model_store.measured import ConfusionCard, ReliabilityCard


class VersionFilter(django_filters.FilterSet):
    state = django_filters.ChoiceFilter(choices=State.choices)
    search = PartOf("model", "version", "note", "sha256", "filename")

    class Meta:
        model = ModelVersion
        fields = ("model", "version", "state", "sha256")


class VersionList(generics.ListAPIView[ModelVersion]):
    """Versions, newest first; `?version=NAME`, `?model=NAME`, `?state=approved`, `?sha256=…`, `?search=…`."""

    permission_classes = (may("registry.view_modelversion"),)
    serializer_class = VersionSerializer
    queryset = queries.versions_with_routes()
    filterset_class = VersionFilter


# Of a card, what the version's page shows: the names of files that stand elsewhere in it are nobody's to read here.
_OF_CARD: Final = (
    "classes", "levels", "look_alikes", "input", "graph", "temperature", "calibration", "decision", "weights",
    "confusion", "reliability",
)  # fmt: skip
NUMBER_MAX: Final = 10**15 - 1
_OF_DATA: Final = ("name", "fingerprint", "photos", "per_class")


class LearntFromSerializer(serializers.Serializer[LearntFrom]):
    dataset = serializers.IntegerField(source="dataset.pk")
    erased = serializers.IntegerField(help_text="Of its photographs since; above 0: train anew.")


class GoldenSerializer(serializers.Serializer[Any]):
    """A photograph that the version is tried on, with the answer that its card expects."""

    number = serializers.IntegerField(help_text="From 1.")
    photo = serializers.CharField(source="file", help_text="As `smoke_report` names it.")
    class_id = serializers.CharField(source="expected.id")
    probability = serializers.FloatField()
    photograph = serializers.SerializerMethodField(
        help_text="Its address; null where people lent it and the caller may not open photographs."
    )

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_photograph(self, golden: Golden) -> str | None:
        request, version = self.context["request"], self.context["version"]
        if not self.context["may_open"]:
            return None
        address: str = request.build_absolute_uri(reverse("versions_golden", args=[version.pk, golden.number]))
        return address


class WholeVersionSerializer(VersionSerializer):
    card = serializers.SerializerMethodField(help_text="As it was signed; null before the archive is verified.")
    learnt_from = serializers.SerializerMethodField(
        help_text="The data set of this console that it was trained on; null: other photographs."
    )
    golden = serializers.SerializerMethodField(
        help_text="What it is tried on; empty before the archive is verified, and where it is not here."
    )

    class Meta(VersionSerializer.Meta):
        fields = (*VersionSerializer.Meta.fields, "card", "learnt_from", "golden")

    @extend_schema_field({"type": "object", "additionalProperties": {}, "nullable": True})
    def get_card(self, version: ModelVersion) -> dict[str, Any] | None:
        document = version.card_document
        if not document:
            return None
        shown = {name: document[name] for name in _OF_CARD if name in document}
        return shown | {"data": {name: document["data"][name] for name in _OF_DATA}}

    @extend_schema_field(LearntFromSerializer(allow_null=True))
    def get_learnt_from(self, version: ModelVersion) -> dict[str, Any] | None:
        found = learnt_from(version.card_document["data"]["fingerprint"]) if version.card_document else None
        return None if found is None else dict(LearntFromSerializer(found).data)

    @extend_schema_field(GoldenSerializer(many=True))
    def get_golden(self, version: ModelVersion) -> Any:
        may = may_open(actor_of(self.context["request"]), version)
        context = {**self.context, "version": version, "may_open": may}
        return GoldenSerializer(golden_of(version), many=True, context=context).data


class VersionDetail(generics.RetrieveAPIView[ModelVersion]):
    """One version with its card, the data set that it learnt from, and the photographs that it is tried on."""

    permission_classes = (may("registry.view_modelversion"),)
    serializer_class = WholeVersionSerializer
    queryset = queries.versions_with_routes()


class VersionGolden(APIView):
    permission_classes = (may("registry.view_modelversion"),)

    @extend_schema(responses={(200, CONTENT_TYPE): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int, number: int) -> HttpResponse:
        """One of the photographs that a version is tried on, from 1; for whoever may see the version, and open
        photographs where people lent these.
        """
        version = registry_services.find_version(pk)
        found = open_golden(actor=actor_of(request), version=version, number=number) if number else []
        if not found:
            raise NotFound(_("There is no such photograph, or its archive is not here."))
        headers = {"Cache-Control": "no-store, private", "X-Content-Type-Options": "nosniff"}
        return HttpResponse(found[0].png, content_type=CONTENT_TYPE, headers=headers)


class VersionApproval(APIView):
    @extend_schema(request=ReasonSerializer, responses=VersionSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Approve a smoke-tested version. Whoever uploaded it may not."""
        wanted = read(ReasonSerializer, request)
        registry_services.approve_version(actor=actor_of(request), version_id=pk, reason=wanted["reason"])
        return _version(pk)


class RolloutSerializer(ReasonSerializer):
    mode = serializers.ChoiceField(choices=Mode.choices)
    weight_ratio = serializers.FloatField(
        min_value=0.0, max_value=1.0, default=None, allow_null=True, help_text="A canary's share of the calls."
    )
    unguarded = serializers.MultipleChoiceField(
        choices=Rule.choices, default=set, help_text="Guardrails that shall not end it, of those that watch this mode."
    )
    seen = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=NUMBER_MAX),
        max_length=len(Mode),
        default=None,
        allow_null=True,
        help_text="The numbers of the routes that you saw in force as the model's production and canary. If others are "
        "by now, nothing is done.",
    )


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
            seen=wanted["seen"],
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


class RollbackSerializer(serializers.Serializer[queries.Rollback]):
    """What a rollback would do now."""

    ends = RouteSerializer(help_text="The canary, or production where there is none.")
    serves = serializers.CharField(source="serves.version", help_text="What answers every call afterwards.")
    serves_id = serializers.IntegerField(source="serves.pk")


class WantedRollbackSerializer(ReasonSerializer):
    ends = serializers.IntegerField(
        default=None,
        allow_null=True,
        help_text="The number of the route that you saw would end. If another one would by now, nothing is done.",
    )


class ModelRollback(APIView):
    permission_classes = (may("rollout.view_route"),)

    @extend_schema(responses=RollbackSerializer)
    def get(self, request: Request, model: str) -> Response:
        """What a rollback would end now, and what would answer afterwards; 404 where it would lead nowhere."""
        return Response(RollbackSerializer(services.find_rollback(model)).data)

    @extend_schema(request=WantedRollbackSerializer, responses=VersionSerializer)
    def post(self, request: Request, model: str) -> Response:
        """End the canary, or bring the production version before this one back. Answers with what is in production."""
        wanted = read(WantedRollbackSerializer, request)
        route = services.roll_back(actor=actor_of(request), model=model, reason=wanted["reason"], ends=wanted["ends"])
        return _version(route.version_id)


_ROW: Final = {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX}


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


class ConfusionSerializer(serializers.Serializer[Any]):
    measured_on = serializers.CharField()
    counts = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text="Class shown -> class answered -> photographs; what never occurred is left out.",
    )


class ReliabilityBinSerializer(serializers.Serializer[Any]):
    low = serializers.FloatField()
    high = serializers.FloatField()
    photos = serializers.IntegerField()
    confidence = serializers.FloatField(help_text="Mean of the photographs whose confidence lies in (low, high].")
    accuracy = serializers.FloatField()


class ReliabilitySerializer(serializers.Serializer[Any]):
    measured_on = serializers.CharField()
    bins = ReliabilityBinSerializer(many=True)


_DATA_CHOICES: Final = [str(each) for each in comparison.Data]
_DATA_HELP: Final = "How the photographs of a and of b relate; null where one card has no such table."


class ConfusionPairSerializer(serializers.Serializer[Any]):
    measured_on = serializers.ChoiceField(choices=_DATA_CHOICES, allow_null=True, help_text=_DATA_HELP)
    a = ConfusionSerializer(allow_null=True)
    b = ConfusionSerializer(allow_null=True)


class ReliabilityPairSerializer(serializers.Serializer[Any]):
    measured_on = serializers.ChoiceField(choices=_DATA_CHOICES, allow_null=True, help_text=_DATA_HELP)
    a = ReliabilitySerializer(allow_null=True)
    b = ReliabilitySerializer(allow_null=True)


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
    confusion = ConfusionPairSerializer()
    reliability = ReliabilityPairSerializer()


class RankedSerializer(FigureSerializer):
    id = serializers.IntegerField()
    version = serializers.CharField()
    may_be_best = serializers.BooleanField(help_text="Its interval reaches the best one's, on the same photographs.")


class VersionCompare(APIView):
    permission_classes = (may("registry.view_modelversion"),)

    @extend_schema(
        parameters=[OpenApiParameter(name, _ROW, required=True) for name in ("a", "b")],
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
                "confusion": {
                    "measured_on": found.confusion.data,
                    **{name: _confusion(version.card().confusion) for name, version in (("a", one), ("b", other))},
                },
                "reliability": {
                    "measured_on": found.reliability.data,
                    **{name: _reliability(version.card().reliability) for name, version in (("a", one), ("b", other))},
                },
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
            raise Invalid(
                _("A metric of {model} is one of: {names}.").format(
                    model=model, names=", ".join(known) or _("none yet")
                ),
                field="metric",
            )
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


def _id(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not text.isdecimal() or len(text) > 15:
        raise Invalid(_("{field} is the number of a version.").format(field=name), field=name)
    return int(text)


def _figure(metric: MetricCard | None) -> dict[str, Any] | None:
    if metric is None:
        return None
    return {"value": metric.value, "low": metric.low, "high": metric.high, "measured_on": metric.data}


def _confusion(table: ConfusionCard | None) -> dict[str, Any] | None:
    return None if table is None else {"measured_on": table.data, "counts": table.counts}


def _reliability(table: ReliabilityCard | None) -> dict[str, Any] | None:
    return None if table is None else {"measured_on": table.data, "bins": [asdict(each) for each in table.bins]}


def _version(pk: int) -> Response:
    return Response(VersionSerializer(queries.versions_with_routes().get(pk=pk)).data)
