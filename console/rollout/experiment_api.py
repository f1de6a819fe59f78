"""Experiments for scripts: `experiments/…`, `versions/{id}/experiment/`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.registry import services as registry_services
from console.rollout import experiments
from console.rollout.models import Experiment, Measure
from console.rollout.route_api import ReasonSerializer, ShareSerializer, _share
from console.staff.permissions import may
from console.staff.rest import actor_of, read
from console.torchserve import connections


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
    baseline_ratio = serializers.FloatField(
        min_value=0.0, max_value=1.0, help_text="What production is expected to reach, 0 to 1."
    )
    effect_ratio = serializers.FloatField(
        min_value=0.0, max_value=1.0, help_text="The smallest improvement that matters."
    )
    share_ratio = serializers.FloatField(min_value=0.0, max_value=1.0, help_text="Of the calls, for the new version.")
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
    queryset = Experiment.objects.select_related("route__version")
    filterset_fields = ("outcome", "measure")


class ExperimentDetail(generics.RetrieveAPIView[Experiment]):
    """One experiment, with what has been seen so far."""

    permission_classes = (may("rollout.view_experiment"),)
    serializer_class = ExperimentSerializer
    queryset = Experiment.objects.select_related("route__version")
