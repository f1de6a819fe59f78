"""Predictions for scripts: `predictions/`, `predictions/{id}/`, `…/photographs/{part}/`, `…/heat-maps/{part}/`,
`…/similar/{number}/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import path, reverse
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from console.filtering import Instant
from console.predictions import queries
from console.predictions.models import Feedback, FeedbackKind, Prediction, Verdict
from console.predictions.page import Picture, pictures
from console.predictions.pictures import (
    CONTENT_TYPE,
    THUMBNAIL_TYPE,
    heat_map_response,
    photograph_response,
    similar_response,
)
from console.predictions.similar import nearest_of
from console.staff.permissions import may
from console.staff.rest import actor_of
from protos.wording import DISCLAIMER

VERDICTS: Final = [verdict.name for verdict in Verdict]
FEEDBACK: Final = [kind.name for kind in FeedbackKind]
ROUTES: Final = "prediction"  # what the names of the routes to pictures begin with


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
            "version_named",
            "verdict",
            "class_id",
            "confidence",
            "disclaimer",
        )
        extra_kwargs: ClassVar = {
            "version_named": {
                "help_text": "No weight chose the version: its caller named it, or it ended a batch that it began. "
                "Guardrails and experiments leave such answers out. null: it was not kept then."
            }
        }

    @extend_schema_field(serializers.ChoiceField(choices=VERDICTS))
    def get_verdict(self, prediction: Prediction) -> str:
        return Verdict(prediction.verdict).name

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_disclaimer(self, prediction: Prediction) -> dict[str, str]:
        return dict(DISCLAIMER)


class PictureSerializer(serializers.Serializer[Any]):
    """One view, and where what is kept of it can be seen now."""

    part = serializers.IntegerField(help_text="From 0.")
    photograph = serializers.SerializerMethodField(help_text="Its address; null: none is kept, or not for you.")
    heat_map = serializers.SerializerMethodField(help_text="The same of its heat map.")
    why_not = serializers.CharField(help_text='Why there is no photograph, for a person; "" where there is one.')

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_photograph(self, picture: Picture) -> str | None:
        return self._address(picture.photograph)

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_heat_map(self, picture: Picture) -> str | None:
        return self._address(picture.heat_map)

    def _address(self, path: str) -> str | None:
        return self.context["request"].build_absolute_uri(path) if path else None


class SimilarSerializer(serializers.Serializer[Any]):
    """A photograph that the version learnt from and was reminded of."""

    example_id = serializers.CharField(source="neighbour.example_id")
    class_id = serializers.CharField(source="neighbour.class_id")
    similarity_ratio = serializers.FloatField(source="neighbour.similarity_ratio", help_text="Cosine, -1 to 1.")
    picture = serializers.URLField(allow_null=True, help_text="Its address; null: it is not to be shown, or not here.")


def similar_to(prediction: Prediction, context: Mapping[str, Any]) -> Any:
    """What a prediction was given beside, nearest first, each with the address of its picture. At most one query."""
    rows = []
    for number, shown in enumerate(nearest_of(prediction, prediction.detail()), start=1):
        address = reverse(f"{ROUTES}_similar", args=[prediction.pk, number]) if shown.thumbnail_jpeg else None
        picture = context["request"].build_absolute_uri(address) if address else None
        rows.append({"neighbour": shown.neighbour, "picture": picture})
    return SimilarSerializer(rows, many=True).data


class FeedbackSerializer(serializers.ModelSerializer[Feedback]):
    """What a caller said of an answer later."""

    kind = serializers.SerializerMethodField()

    class Meta:
        model = Feedback
        fields = ("feedback_id", "happened_at", "client_id", "kind", "true_class", "comment")

    @extend_schema_field(serializers.ChoiceField(choices=FEEDBACK))
    def get_kind(self, feedback: Feedback) -> str:
        return FeedbackKind(feedback.kind).name


class WholePredictionSerializer(PredictionSerializer):
    detail = serializers.SerializerMethodField()
    pictures = serializers.SerializerMethodField()
    similar = serializers.SerializerMethodField(help_text="What it was given beside, nearest first.")
    feedback = serializers.SerializerMethodField(help_text="Oldest first.")

    class Meta(PredictionSerializer.Meta):
        fields = (*PredictionSerializer.Meta.fields, "detail", "pictures", "similar", "feedback")

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_detail(self, prediction: Prediction) -> dict[str, Any]:
        return asdict(prediction.detail())

    @extend_schema_field(PictureSerializer(many=True))
    def get_pictures(self, prediction: Prediction) -> Any:
        seen = pictures(prediction, prediction.detail(), actor_of(self.context["request"]), routes=ROUTES)
        return PictureSerializer(seen, many=True, context=self.context).data

    @extend_schema_field(SimilarSerializer(many=True))
    def get_similar(self, prediction: Prediction) -> Any:
        return similar_to(prediction, self.context)

    @extend_schema_field(FeedbackSerializer(many=True))
    def get_feedback(self, prediction: Prediction) -> Any:
        return FeedbackSerializer(queries.feedback_on([prediction.pk]).get(prediction.pk, ()), many=True).data


class PredictionFilter(filters.FilterSet):
    verdict = filters.ChoiceFilter(
        choices=[(verdict.name, verdict.label) for verdict in Verdict], method="with_verdict"
    )
    class_id = filters.CharFilter(field_name="top_class")
    since = Instant(field_name="happened_at", lookup_expr="gte")
    until = Instant(field_name="happened_at", lookup_expr="lt")
    prediction_id = filters.UUIDFilter()
    request_id = filters.CharFilter(help_text="The caller's own id, whole.")

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


class Photograph(APIView):
    permission_classes = (may("vault.open_storedobject"),)

    @extend_schema(responses={(200, CONTENT_TYPE): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: UUID, part: int) -> HttpResponse:
        """The photograph of one view, while its person's consent holds; each look is in the audit trail."""
        return photograph_response(actor=actor_of(request), prediction_id=pk, part=part)


class HeatMap(APIView):
    permission_classes = (may("vault.open_storedobject"),)

    @extend_schema(responses={(200, CONTENT_TYPE): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: UUID, part: int) -> HttpResponse:
        """Where the model looked, as a transparent picture to lie over the photograph; under the same conditions."""
        return heat_map_response(actor=actor_of(request), prediction_id=pk, part=part)


class Similar(APIView):
    permission_classes = (may("predictions.view_prediction"),)

    @extend_schema(responses={(200, THUMBNAIL_TYPE): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: UUID, number: int) -> HttpResponse:
        """The picture of one example that the answer was given beside, from 1; for whoever may see the answer."""
        return similar_response(actor=actor_of(request), prediction_id=pk, number=number)


urlpatterns = [
    path("predictions/", PredictionList.as_view()),
    path("predictions/<uuid:pk>/", PredictionDetail.as_view()),
    path("predictions/<uuid:pk>/photographs/<int:part>/", Photograph.as_view(), name=f"{ROUTES}_photograph"),
    path("predictions/<uuid:pk>/heat-maps/<int:part>/", HeatMap.as_view(), name=f"{ROUTES}_heat_map"),
    path("predictions/<uuid:pk>/similar/<int:number>/", Similar.as_view(), name=f"{ROUTES}_similar"),
]
