"""People behind photographs, for scripts: `subjects/`, `subjects/{id}/`, `subjects/{id}/predictions/`.

A pseudonym finds its person, as on the pages (`?subject=`). None of our processes logs an address with what it asks; a
proxy in front may.
"""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import generics, serializers

from console.datasets.queries import learnt_of
from console.predictions import queries as predictions
from console.predictions.api import PredictionSerializer
from console.predictions.models import Prediction
from console.privacy.models import Kind, PrivacyRequest, State
from console.privacy.subject_page import SHOWN, kept_of
from console.staff.permissions import may
from console.staff.rest import actor_of
from console.vault import queries as vault
from console.vault.api import ConsentSerializer
from console.vault.models import Consent, Subject
from console.vault.models import Kind as ObjectKind


class SubjectSerializer(serializers.ModelSerializer[Subject]):
    being_erased = serializers.SerializerMethodField()

    class Meta:
        model = Subject
        fields: tuple[str, ...] = ("id", "created_at", "restricted_at", "being_erased")

    def get_being_erased(self, subject: Subject) -> bool:
        return subject.shut_at is not None


class RequestOfSubjectSerializer(serializers.ModelSerializer[PrivacyRequest]):
    kind = serializers.ChoiceField(choices=Kind.choices, read_only=True)
    state = serializers.ChoiceField(choices=State.choices, read_only=True)

    class Meta:
        model = PrivacyRequest
        fields = ("id", "kind", "state", "received_at", "closed_at")


class LearntSerializer(serializers.Serializer[Any]):
    """A data set with photographs of the person, and the versions that learnt from it."""

    dataset = serializers.IntegerField()
    photographs = serializers.IntegerField(help_text="Of this person.")
    versions = serializers.ListField(child=serializers.CharField())
    version_ids = serializers.ListField(
        child=serializers.IntegerField(), help_text="Their numbers: two models may each have a version of one name."
    )


class WholeSubjectSerializer(SubjectSerializer):
    consents = serializers.SerializerMethodField(help_text=f"The newest {SHOWN}.")
    requests = serializers.SerializerMethodField(help_text=f"The newest {SHOWN}; null where you may not see them.")
    kept = serializers.SerializerMethodField(help_text="Kind of object -> how many.")
    learnt = serializers.SerializerMethodField()

    class Meta(SubjectSerializer.Meta):
        fields = (*SubjectSerializer.Meta.fields, "consents", "requests", "kept", "learnt")

    @extend_schema_field(ConsentSerializer(many=True))
    def get_consents(self, subject: Subject) -> Any:
        rows = Consent.objects.filter(subject=subject).order_by("-given_at")[:SHOWN]
        return ConsentSerializer(rows, many=True).data

    @extend_schema_field(RequestOfSubjectSerializer(many=True, allow_null=True))
    def get_requests(self, subject: Subject) -> Any:
        if not actor_of(self.context["request"]).has_perm("privacy.view_privacyrequest"):
            return None
        rows = PrivacyRequest.objects.filter(subject=subject).order_by("-pk")[:SHOWN]
        return RequestOfSubjectSerializer(rows, many=True).data

    @extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
    def get_kept(self, subject: Subject) -> dict[str, int]:
        kept = kept_of(subject)
        return {kind.value: kept.get(kind.value, 0) for kind in ObjectKind}

    @extend_schema_field(LearntSerializer(many=True))
    def get_learnt(self, subject: Subject) -> list[dict[str, Any]]:
        return [
            {
                "dataset": row.dataset.pk,
                "photographs": row.photographs,
                "versions": [version.version for version in row.versions],
                "version_ids": [version.pk for version in row.versions],
            }
            for row in learnt_of(subject.pk)
        ]


class SubjectFilter(filters.FilterSet):
    subject = filters.CharFilter(method="of_pseudonym", help_text="Pseudonym of the person, whole.")
    restricted = filters.BooleanFilter(field_name="restricted_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = Subject
        fields = ("restricted",)

    def of_pseudonym(self, rows: QuerySet[Subject], name: str, value: str) -> QuerySet[Subject]:
        subject = vault.subject_of(value.strip())
        return rows.none() if subject is None else rows.filter(pk=subject.pk)


class SubjectList(generics.ListAPIView[Subject]):
    """People behind photographs, who were seen last first; nothing here names one."""

    permission_classes = (may("vault.view_subject"),)
    serializer_class = SubjectSerializer
    page_order = ("-created_at", "-pk")
    filterset_class = SubjectFilter
    queryset = Subject.objects.all()


class SubjectDetail(generics.RetrieveAPIView[Subject]):
    """One person: consents, requests, what is kept, and which versions learnt from it."""

    permission_classes = (may("vault.view_subject"),)
    serializer_class = WholeSubjectSerializer
    queryset = Subject.objects.all()


class PredictionsOfSubject(generics.ListAPIView[Prediction]):
    """Predictions on one person, newest first."""

    permission_classes = (may("vault.view_subject"),)
    serializer_class = PredictionSerializer
    page_order = ("-happened_at", "-prediction_id")
    queryset = predictions.newest_first()

    def get_queryset(self) -> QuerySet[Prediction]:
        rows = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return rows
        subject = generics.get_object_or_404(Subject, pk=self.kwargs["pk"])
        return predictions.shown_to(actor_of(self.request), rows.filter(subject=subject))
