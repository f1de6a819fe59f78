"""Consents for scripts: `consents/`, `consents/{reference}/withdraw/`."""

from __future__ import annotations

from django.db.models import QuerySet
from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.staff.permissions import may
from console.staff.rest import actor_of, read
from console.vault import queries, services
from console.vault.models import Consent, Purpose


class ConsentSerializer(serializers.ModelSerializer[Consent]):
    subject_id = serializers.UUIDField(read_only=True, help_text="Stands for the person: `subjects/{id}/`.")

    class Meta:
        model = Consent
        fields = (
            "reference",
            "subject_id",
            "purpose",
            "text_version",
            "channel",
            "given_at",
            "expires_at",
            "recorded_at",
            "withdrawn_at",
            "withdrawal_channel",
        )


class NewConsentSerializer(serializers.Serializer[Consent]):
    subject = serializers.CharField(
        max_length=services.TEXT_MAX, help_text="The pseudonym that callers send; only a keyed hash of it is stored."
    )
    purpose = serializers.ChoiceField(choices=Purpose.choices)
    text_version = serializers.CharField(max_length=40, help_text="Which text the person agreed to.")
    channel = serializers.CharField(max_length=40, help_text="How: counter, web, LINE…")
    reference = serializers.CharField(
        max_length=128, default="", allow_blank=True, help_text="What callers name it by; empty: one is made up."
    )
    given_at = serializers.DateTimeField(default=None, allow_null=True, help_text="Empty: now.")
    expires_at = serializers.DateTimeField(default=None, allow_null=True, help_text="Empty: never.")


class WithdrawalSerializer(serializers.Serializer[Consent]):
    channel = serializers.CharField(max_length=40, help_text="How it was withdrawn.")


class ConsentFilter(filters.FilterSet):
    subject = filters.CharFilter(method="of_person", help_text="Pseudonym of the person, whole.")

    class Meta:
        model = Consent
        fields = ("reference", "purpose")

    def of_person(self, rows: QuerySet[Consent], name: str, value: str) -> QuerySet[Consent]:
        subject = queries.subject_of(value.strip())
        return rows.none() if subject is None else rows.filter(subject=subject)


class ConsentList(generics.ListAPIView[Consent]):
    """Consents, newest first."""

    permission_classes = (may("vault.view_consent"),)
    serializer_class = ConsentSerializer
    page_order = ("-recorded_at", "-pk")
    filterset_class = ConsentFilter
    queryset = queries.consents_with_subjects()

    @extend_schema(request=NewConsentSerializer, responses={201: ConsentSerializer})
    def post(self, request: Request) -> Response:
        """Record a consent, before the first photograph that it covers."""
        wanted = read(NewConsentSerializer, request)
        consent = services.give_consent(
            actor=actor_of(request),
            pseudonym=wanted["subject"],
            purpose=wanted["purpose"],
            text_version=wanted["text_version"],
            channel=wanted["channel"],
            reference=wanted["reference"],
            given_at=wanted["given_at"],
            expires_at=wanted["expires_at"],
        )
        return Response(ConsentSerializer(consent).data, status=status.HTTP_201_CREATED)


class Withdrawal(APIView):
    @extend_schema(request=WithdrawalSerializer, responses=ConsentSerializer)
    def post(self, request: Request, reference: str) -> Response:
        """Withdraw a consent: when this answers, what was kept under it can no longer be read."""
        wanted = read(WithdrawalSerializer, request)
        consent = services.withdraw_consent(actor=actor_of(request), reference=reference, channel=wanted["channel"])
        return Response(ConsentSerializer(consent).data)


urlpatterns = [
    path("consents/", ConsentList.as_view()),
    path("consents/<str:reference>/withdraw/", Withdrawal.as_view()),
]
