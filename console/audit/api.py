"""The audit log for scripts: `audit/entries/` to look at, `audit/checkpoints/` as they were signed, `audit/export/` to
verify offline.
"""

from __future__ import annotations

import json
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
    path("audit/export/", Export.as_view()),
]
