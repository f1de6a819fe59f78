"""The audit log for scripts: `audit/entries/` to look at, `audit/checkpoints/` as they were signed,
`audit/verification/` as the page says it, `audit/export/` to verify offline.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, ClassVar

from django.db import transaction
from django.http import StreamingHttpResponse
from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from console.audit import queries
from console.audit.checking import ENTRIES_MAX, check_newest
from console.audit.export import export
from console.audit.models import Checkpoint, Entry
from console.audit.services import record
from console.staff.models import User
from console.staff.permissions import may
from console.staff.rest import actor_of

EXPORT_TYPE = "application/x-ndjson"


class EntrySerializer(serializers.ModelSerializer[Entry]):
    time = serializers.DateTimeField(source="recorded_at")
    hash = serializers.SerializerMethodField()
    payload = serializers.SerializerMethodField(
        help_text="Null where it was erased, or withheld from a reviewer who is to judge blind."
    )

    class Meta:
        model = Entry
        fields = ("sequence", "time", "type", "actor", "hash", "payload")

    def get_hash(self, entry: Entry) -> str:
        return bytes(entry.entry_hash).hex()

    @extend_schema_field({"type": "object", "additionalProperties": {}, "nullable": True})
    def get_payload(self, entry: Entry) -> dict[str, Any] | None:
        payload = getattr(entry, "payload", None)
        return None if payload is None or entry.sequence in self.context["withheld"] else json.loads(payload.text)


class EntryFilter(filters.FilterSet):
    subject_type = filters.CharFilter(field_name="payload__subject_type")
    subject_id = filters.CharFilter(field_name="payload__subject_id")
    since = filters.IsoDateTimeFilter(field_name="recorded_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="recorded_at", lookup_expr="lt")

    class Meta:
        model = Entry
        fields = ("type", "actor")


class EntryList(generics.ListAPIView[Entry]):
    """Entries, newest first."""

    permission_classes = (may("audit.view_entry"),)
    serializer_class = EntrySerializer
    filterset_class = EntryFilter
    queryset = queries.entries_with_payloads()

    @property
    def page_order(self) -> tuple[str, ...]:
        """Along time where a time is asked for, so that nothing newer is read and thrown away."""
        return queries.ALONG_TIME if self.request.query_params.keys() & {"since", "until"} else ("-sequence",)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        context = {**self.get_serializer_context(), "withheld": queries.withheld_from(actor_of(request), rows)}
        return self.get_paginated_response(EntrySerializer(rows, many=True, context=context).data)


class CheckpointSerializer(serializers.ModelSerializer[Checkpoint]):
    class Meta:
        model = Checkpoint
        fields = ("size", "created_at", "note")
        read_only_fields = fields
        extra_kwargs: ClassVar = {
            "size": {"help_text": "It is about the first so many entries."},
            "note": {"help_text": "The signed text, as it was published."},
        }


class CheckpointList(generics.ListAPIView[Checkpoint]):
    """Signed checkpoints, newest first: hold them against what was published elsewhere."""

    permission_classes = (may("audit.view_checkpoint"),)
    serializer_class = CheckpointSerializer
    page_order = ("-size",)
    queryset = Checkpoint.objects.defer("frontier")


class BrokenSerializer(serializers.Serializer[Any]):
    """One thing that is wrong."""

    first = serializers.IntegerField(allow_null=True, help_text="Of the entries concerned; null: no entry's fault.")
    last = serializers.IntegerField(allow_null=True)
    what = serializers.CharField()


class VerificationSerializer(serializers.Serializer[Any]):
    """Named as `amulet audit verify --json` names it."""

    whole = serializers.BooleanField(help_text="Every hash, link and payload fits, and so does every checkpoint.")
    entries = serializers.IntegerField(help_text="That were looked at.")
    first = serializers.IntegerField(help_text="Of them; above 1 where the log is long. 0: there is none.")
    last = serializers.IntegerField()
    checkpoints = serializers.IntegerField(help_text="Signed ones about these entries, which fit.")
    signed_through = serializers.IntegerField(help_text="The last entry under one of them, 0: none; newer ones wait.")
    erased = serializers.IntegerField(help_text="Payloads that are gone; their entries still count.")
    problems = BrokenSerializer(many=True)
    problems_left_out = serializers.IntegerField()
    took_s = serializers.FloatField()


class Verification(APIView):
    permission_classes = (may("audit.view_entry"),)

    @extend_schema(
        responses=VerificationSerializer,
        description=(
            "Whether the newest entries hold against each other and the signed checkpoints, looked at now; of a long "
            f"log, the newest {ENTRIES_MAX} and those since the checkpoint before them. Whoever owns the machine could "
            "answer anything: to be sure, export the log and verify all of it elsewhere with the public key."
        ),
    )
    def get(self, request: Request) -> Response:
        checked = check_newest()
        said = {**asdict(checked.report), "whole": checked.report.whole, "took_s": checked.took_s}
        return Response(VerificationSerializer(said).data)


class Export(APIView):
    permission_classes = (may("audit.export_entry"),)

    @extend_schema(responses={(200, EXPORT_TYPE): OpenApiTypes.BINARY})
    def get(self, request: Request) -> StreamingHttpResponse:
        """The whole log with its checkpoints, for `amulet audit verify`; its last entry tells of this call."""
        return export_response(actor_of(request))


def export_response(actor: User) -> StreamingHttpResponse:
    """Record the export, then stream the log as it stands. Raises NotAvailable."""
    key = queries.public_key()
    with transaction.atomic():
        last = record(actor=actor, action="audit.exported", subject_type="audit", subject_id="", details={})
    return StreamingHttpResponse(
        export(key, last=last, without=queries.predictions_withheld_from(actor)),
        content_type=EXPORT_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="audit-{last}.jsonl"',
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        },
    )


urlpatterns = [
    path("audit/entries/", EntryList.as_view()),
    path("audit/checkpoints/", CheckpointList.as_view()),
    path("audit/verification/", Verification.as_view()),
    path("audit/export/", Export.as_view()),
]
