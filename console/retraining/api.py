"""Training jobs for scripts: `training-jobs/…`, and what is planned after erasures: `retraining-plans/`."""

from __future__ import annotations

from typing import Any

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.datasets.services import NOTE_MAX
from console.filtering import RowNumber
from console.retraining import queries, services
from console.retraining.models import SEED_MAX, Failure, Plan, Recipe, Stage, TrainingJob
from console.staff.permissions import may
from console.staff.rest import actor_of, read


class JobSerializer(serializers.ModelSerializer[TrainingJob]):
    asked_by = serializers.CharField(source="asked_by.username", read_only=True)
    failure = serializers.ChoiceField(choices=Failure.choices, allow_blank=True, read_only=True)
    stage = serializers.ChoiceField(choices=Stage.choices, allow_blank=True, read_only=True)
    cancelled_by = serializers.CharField(source="cancelled_by.username", read_only=True, default=None, allow_null=True)

    class Meta:
        model = TrainingJob
        fields: tuple[str, ...] = (
            "id",
            "model",
            "recipe",
            "seed",
            "note",
            "asked_by",
            "asked_at",
            "state",
            "tries",
            "began_at",
            "stage",
            "step",
            "step_done",
            "step_total",
            "ended_at",
            "cancelled_by",
            "failure",
            "said",
            "dataset",
            "version",
        )
        read_only_fields = fields


class JobWithLogSerializer(JobSerializer):
    class Meta(JobSerializer.Meta):
        fields = (*JobSerializer.Meta.fields, "log_tail")
        read_only_fields = fields


class NewJobSerializer(serializers.Serializer[TrainingJob]):
    model = serializers.CharField(max_length=100)
    recipe = serializers.ChoiceField(choices=Recipe.choices, default=Recipe.STANDARD)
    seed = serializers.IntegerField(min_value=0, max_value=SEED_MAX, default=0)
    note = serializers.CharField(max_length=NOTE_MAX, default="", allow_blank=True)


class PlanSerializer(serializers.ModelSerializer[Plan]):
    model = serializers.CharField(source="version.model", read_only=True)
    version_name = serializers.CharField(source="version.version", read_only=True)

    class Meta:
        model = Plan
        fields: tuple[str, ...] = ("version", "model", "version_name", "photographs", "since", "due_at")
        read_only_fields = fields


class PlanList(generics.ListAPIView[Plan]):
    """Versions that learnt from people who were erased since: what answers callers first."""

    permission_classes = (may("datasets.view_dataset"),)
    serializer_class = PlanSerializer
    page_order = queries.PLAN_ORDER
    queryset = queries.plans()


class JobFilter(filters.FilterSet):
    dataset = RowNumber("dataset_id", help_text="The id of the data set that it learnt from.")
    version = RowNumber("version_id", help_text="The id of the version that it became.")

    class Meta:
        model = TrainingJob
        fields = ("model", "state")


class JobList(generics.ListAPIView[TrainingJob]):
    """Training jobs, newest first."""

    permission_classes = (may("datasets.view_dataset"),)
    serializer_class = JobSerializer
    filterset_class = JobFilter
    queryset = queries.jobs()

    @extend_schema(request=NewJobSerializer, responses={201: JobSerializer})
    def post(self, request: Request) -> Response:
        """Train a model on what experts labelled; the version is an upload of whoever asks for it."""
        wanted: dict[str, Any] = read(NewJobSerializer, request)
        job = services.start_job(actor=actor_of(request), **wanted)
        return Response(JobSerializer(job).data, status=status.HTTP_201_CREATED)


class JobDetail(generics.RetrieveAPIView[TrainingJob]):
    """One job, how far it is, and the end of its log."""

    permission_classes = (may("datasets.view_dataset"),)
    serializer_class = JobWithLogSerializer
    queryset = queries.jobs()


class JobCancel(APIView):
    @extend_schema(request=None, responses=JobSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Stop it, or take it out of the queue."""
        return Response(JobSerializer(services.cancel_job(actor=actor_of(request), job_id=pk)).data)


urlpatterns = [
    path("retraining-plans/", PlanList.as_view()),
    path("training-jobs/", JobList.as_view()),
    path("training-jobs/<int:pk>/", JobDetail.as_view()),
    path("training-jobs/<int:pk>/cancel/", JobCancel.as_view()),
]
