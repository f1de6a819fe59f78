"""The report of retention for scripts: `privacy/retention/`."""

from __future__ import annotations

from django.urls import path
from django.utils.timezone import now
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.retention.models import Applied
from console.retention.queries import overdue
from console.retention.record import as_document
from console.retention.rules import RULE
from console.staff.permissions import may


class AppliedSerializer(serializers.ModelSerializer[Applied]):
    due = serializers.IntegerField(read_only=True, help_text="How much had its time behind it today (UTC).")
    what = serializers.SerializerMethodField()
    time = serializers.SerializerMethodField()
    why_held = serializers.SerializerMethodField()
    overdue = serializers.SerializerMethodField()

    class Meta:
        model = Applied
        fields = (
            "rule",
            "what",
            "time",
            "due",
            "deleted",
            "held",
            "why_held",
            "failed",
            "problem",
            "last_at",
            "next_at",
            "overdue",
        )
        read_only_fields = fields

    def get_what(self, row: Applied) -> str:
        return str(RULE[row.rule].text)

    def get_time(self, row: Applied) -> str:
        return str(RULE[row.rule].time)

    def get_why_held(self, row: Applied) -> str:
        return str(RULE[row.rule].why_held) if row.held else ""

    def get_overdue(self, row: Applied) -> bool:
        return row.pk in self.context["overdue"]


class RetentionReport(APIView):
    permission_classes = (may("privacy.view_privacyrequest"),)

    @extend_schema(responses=AppliedSerializer(many=True))
    def get(self, request: Request) -> Response:
        """What each rule deleted today, what it kept and why, and when it is applied next."""
        late = set(overdue(now()).values_list("pk", flat=True))
        rows = Applied.objects.filter(rule__in=RULE)
        return Response(AppliedSerializer(rows, many=True, context={"overdue": late}).data)


class ProcessingRecord(APIView):
    permission_classes = (may("privacy.view_privacyrequest"),)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Every field of every table: is it personal, what it holds, whose, why, how long, and what erases it."""
        return Response(as_document())


urlpatterns = [
    path("privacy/retention/", RetentionReport.as_view()),
    path("privacy/record/", ProcessingRecord.as_view()),
]
