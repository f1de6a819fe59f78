"""Predictions for scripts: `predictions/`, `predictions/{id}/`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet
from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import generics, serializers

from console.predictions import queries
from console.predictions.models import Prediction, Verdict
from console.staff.permissions import may
from console.staff.rest import actor_of
from protos.wording import DISCLAIMER


class PredictionSerializer(serializers.ModelSerializer[Prediction]):
    verdict = serializers.SerializerMethodField()
    class_id = serializers.CharField(source="top_class")
    disclaimer = serializers.SerializerMethodField()

    class Meta:
        model = Prediction
        fields: tuple[str, ...] = (
            "prediction_id",
            "happened_at",
            "client_id",
            "request_id",
            "model",
            "version",
            "verdict",
            "class_id",
            "confidence",
            "disclaimer",
        )

    @extend_schema_field(serializers.ChoiceField(choices=[verdict.name for verdict in Verdict]))
    def get_verdict(self, prediction: Prediction) -> str:
        return Verdict(prediction.verdict).name

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_disclaimer(self, prediction: Prediction) -> dict[str, str]:
        return dict(DISCLAIMER)


class WholePredictionSerializer(PredictionSerializer):
    detail = serializers.SerializerMethodField()

    class Meta(PredictionSerializer.Meta):
        fields = (*PredictionSerializer.Meta.fields, "detail")

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_detail(self, prediction: Prediction) -> dict[str, Any]:
        return asdict(prediction.detail())


class PredictionFilter(filters.FilterSet):
    verdict = filters.ChoiceFilter(
        choices=[(verdict.name, verdict.label) for verdict in Verdict], method="with_verdict"
    )
    class_id = filters.CharFilter(field_name="top_class")
    since = filters.IsoDateTimeFilter(field_name="happened_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="happened_at", lookup_expr="lt")
    prediction_id = filters.UUIDFilter()

    class Meta:
        model = Prediction
        fields = ("version", "client_id")

    def with_verdict(self, rows: Any, name: str, value: str) -> Any:
        return rows.filter(verdict=Verdict[value])


class _Shown(generics.GenericAPIView[Prediction]):
    queryset = queries.newest_first()

    def get_queryset(self) -> QuerySet[Prediction]:
        rows = super().get_queryset()
        # The schema is drawn without a person.
        return rows if getattr(self, "swagger_fake_view", False) else queries.shown_to(actor_of(self.request), rows)


class PredictionList(_Shown, generics.ListAPIView[Prediction]):
    """Predictions, newest first; for reviewers without those that they are to judge before the model is heard."""

    permission_classes = (may("predictions.view_prediction"),)
    serializer_class = PredictionSerializer
    page_order = ("-happened_at", "-prediction_id")
    filterset_class = PredictionFilter


class PredictionDetail(_Shown, generics.RetrieveAPIView[Prediction]):
    """One prediction with all that the event said."""

    permission_classes = (may("predictions.view_prediction"),)
    serializer_class = WholePredictionSerializer


urlpatterns = [
    path("predictions/", PredictionList.as_view()),
    path("predictions/<uuid:pk>/", PredictionDetail.as_view()),
]
