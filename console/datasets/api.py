"""Labelled photographs for scripts: `datasets/`, `datasets/{id}/`; what should learn anew: `retraining-proposals/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import FileResponse
from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request

from console.datasets import queries
from console.datasets.models import Dataset, Proposal
from console.datasets.services import NOTE_MAX, export_zip
from console.predictions.names import names_of_model
from console.registry.models import ModelVersion
from console.staff.models import User
from console.staff.permissions import may
from console.staff.rest import actor_of, read


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    made_by = serializers.CharField(source="made_by.username", read_only=True)

    class Meta:
        model = Dataset
        fields: tuple[str, ...] = (
            "id",
            "model",
            "note",
            "made_by",
            "made_at",
            "fingerprint",
            "photographs",
            "per_class",
            "outside",
            "left_out",
        )
        read_only_fields = fields


class ExpertSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    labels = serializers.IntegerField(help_text="That this expert decided, of those that are left.")


class LearnerSerializer(serializers.ModelSerializer[ModelVersion]):
    """A version whose card names exactly these photographs."""

    uploaded_by = serializers.CharField(source="uploaded_by.username", read_only=True)

    class Meta:
        model = ModelVersion
        fields: tuple[str, ...] = ("id", "model", "version", "state", "sha256", "uploaded_by", "uploaded_at")
        read_only_fields = fields


class DatasetWithVersionsSerializer(DatasetSerializer):
    class_names = serializers.SerializerMethodField(help_text="Class -> language -> what it is called.")
    decided_by = serializers.SerializerMethodField(help_text="Whose labels they are, the most first.")
    erased = serializers.SerializerMethodField(help_text="Photographs that were erased since.")
    versions = serializers.SerializerMethodField(help_text="The names of those in `learnt`.")
    learnt = serializers.SerializerMethodField(help_text="Versions that learnt from it, the newest first.")

    class Meta(DatasetSerializer.Meta):
        fields = (*DatasetSerializer.Meta.fields, "class_names", "decided_by", "erased", "versions", "learnt")
        read_only_fields = fields

    @extend_schema_field(serializers.DictField(child=serializers.DictField(child=serializers.CharField())))
    def get_class_names(self, dataset: Dataset) -> dict[str, Mapping[str, str]]:
        names = names_of_model(dataset.model)
        return {class_id: names.get(class_id, {}) for class_id in dataset.per_class}

    @extend_schema_field(ExpertSerializer(many=True))
    def get_decided_by(self, dataset: Dataset) -> Any:
        rows = [{"name": name, "labels": labels} for name, labels in queries.experts_of(dataset)]
        return ExpertSerializer(rows, many=True).data

    @extend_schema_field(LearnerSerializer(many=True))
    def get_learnt(self, dataset: Dataset) -> Any:
        return LearnerSerializer(queries.versions_of(dataset), many=True).data

    def get_erased(self, dataset: Dataset) -> int:
        return queries.erased_since(dataset)

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_versions(self, dataset: Dataset) -> list[str]:
        return [version.version for version in queries.versions_of(dataset)]


class NewDatasetSerializer(serializers.Serializer[Any]):
    model = serializers.CharField(max_length=100)
    note = serializers.CharField(max_length=NOTE_MAX, default="", allow_blank=True)


class DatasetFilter(filters.FilterSet):
    prediction_id = filters.UUIDFilter(method="with_prediction", help_text="Data sets with a photograph of it.")

    class Meta:
        model = Dataset
        fields = ("model", "fingerprint")

    def with_prediction(self, rows: QuerySet[Dataset], name: str, value: UUID) -> QuerySet[Dataset]:
        return rows.filter(labels__prediction=value).distinct()


class DatasetList(generics.ListAPIView[Dataset]):
    """Exports of labelled photographs, newest first."""

    permission_classes = (may("datasets.view_dataset"),)
    serializer_class = DatasetSerializer
    filterset_class = DatasetFilter
    queryset = queries.datasets()

    @extend_schema(request=NewDatasetSerializer, responses={(200, "application/zip"): OpenApiTypes.BINARY})
    def post(self, request: Request) -> FileResponse:
        """The labelled photographs of a model that may be trained on, as a ZIP; made now and kept nowhere."""
        wanted = read(NewDatasetSerializer, request)
        return export_response(actor_of(request), wanted["model"], wanted["note"])


class DatasetDetail(generics.RetrieveAPIView[Dataset]):
    """One export, the versions that learnt from it, and what was erased since."""

    permission_classes = (may("datasets.view_dataset"),)
    serializer_class = DatasetWithVersionsSerializer
    queryset = queries.datasets()


class ProposalSerializer(serializers.ModelSerializer[Proposal]):
    class Meta:
        model = Proposal
        fields = ("model", "since", "labels", "alerts")


class ProposalList(generics.ListAPIView[Proposal]):
    """Models that should learn anew, and why: new labels up to what it takes, open alerts of drift."""

    permission_classes = (may("datasets.view_dataset"),)
    serializer_class = ProposalSerializer
    page_order = ("model",)
    queryset = Proposal.objects.all()


def export_response(actor: User, model: str, note: str) -> FileResponse:
    made, content = export_zip(actor=actor, model=model, note=note)
    return FileResponse(
        content,
        as_attachment=True,
        filename=f"{made.model}-labels-{made.pk}.zip",
        content_type="application/zip",
        headers={"Cache-Control": "no-store", "X-Dataset": str(made.pk)},
    )


urlpatterns = [
    path("datasets/", DatasetList.as_view()),
    path("datasets/<int:pk>/", DatasetDetail.as_view()),
    path("retraining-proposals/", ProposalList.as_view()),
]
