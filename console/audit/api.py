"""The audit log for scripts: `audit/entries/` to look at, `audit/entries/{sequence}/` with its links and
`…/receipt/` to be believed elsewhere, `audit/checkpoints/` as they were signed, `audit/verification/` as the page says
it, `audit/export/` to verify offline.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.urls import path
from django.utils.translation import gettext as _
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
from console.audit.receipts import receipt_of
from console.audit.services import record
from console.audit.words import words_with
from console.errors import Invalid, NotFound
from console.filtering import Instant
from console.instants import in_utc
from console.staff.models import User
from console.staff.permissions import may
from console.staff.rest import actor_of, checked

EXPORT_TYPE = "application/x-ndjson"


class EntrySerializer(serializers.ModelSerializer[Entry]):
    time = serializers.DateTimeField(source="recorded_at")
    hash = serializers.SerializerMethodField()
    payload = serializers.SerializerMethodField(
        help_text="Null where it was erased, or withheld from a reviewer who is to judge blind."
    )

    class Meta:
        model = Entry
        fields: tuple[str, ...] = ("sequence", "time", "type", "actor", "hash", "payload")

    def get_hash(self, entry: Entry) -> str:
        return bytes(entry.entry_hash).hex()

    @extend_schema_field({"type": "object", "additionalProperties": {}, "nullable": True})
    def get_payload(self, entry: Entry) -> dict[str, Any] | None:
        payload = getattr(entry, "payload", None)
        return None if payload is None or entry.sequence in self.context["withheld"] else json.loads(payload.text)


class CoveringSerializer(serializers.ModelSerializer[Checkpoint]):
    class Meta:
        model = Checkpoint
        fields = ("size", "created_at")
        read_only_fields = fields


class AboutSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    id = serializers.CharField(allow_blank=True)


class WordsSerializer(serializers.Serializer[Any]):
    sequence = serializers.IntegerField()
    payload = serializers.JSONField(allow_null=True)


class WholeEntrySerializer(EntrySerializer):
    """An entry as its page shows it."""

    about = serializers.SerializerMethodField(help_text="Null where it was erased.")
    withheld = serializers.SerializerMethodField(help_text="What it says would sway you, who are to judge first.")
    previous = serializers.SerializerMethodField(help_text="Hash of the entry before.")
    commitment = serializers.SerializerMethodField(help_text="To what it says, with a salt.")
    words = serializers.SerializerMethodField(
        help_text="The entry of what staff typed with it; its payload is null once that was erased. Null: nothing was."
    )
    erased_by = serializers.SerializerMethodField(
        help_text="The entry that tells that an officer erased it, or what was typed with it, by hand; null: none did."
    )
    checkpoint = serializers.SerializerMethodField(help_text="The first that covers it; null: it is not signed yet.")

    class Meta(EntrySerializer.Meta):
        fields = (
            *EntrySerializer.Meta.fields, "about", "withheld", "words", "erased_by", "previous", "commitment",
            "checkpoint",
        )  # fmt: skip

    @extend_schema_field(AboutSerializer(allow_null=True))
    def get_about(self, entry: Entry) -> dict[str, str] | None:
        payload = getattr(entry, "payload", None)
        return None if payload is None else dict(zip(("type", "id"), payload.about, strict=True))

    def get_withheld(self, entry: Entry) -> bool:
        return entry.sequence in self.context["withheld"]

    @extend_schema_field(WordsSerializer(allow_null=True))
    def get_words(self, entry: Entry) -> dict[str, Any] | None:
        words = words_with(entry)
        return None if words is None else {"sequence": words.sequence, "payload": self.get_payload(words)}

    def get_erased_by(self, entry: Entry) -> int | None:
        return queries.erased_by_hand(entry, words_with(entry))

    def get_previous(self, entry: Entry) -> str:
        return bytes(entry.previous_hash).hex()

    def get_commitment(self, entry: Entry) -> str:
        return bytes(entry.commitment).hex()

    @extend_schema_field(CoveringSerializer(allow_null=True))
    def get_checkpoint(self, entry: Entry) -> Any:
        covering = queries.covering(entry.sequence)
        return None if covering is None else CoveringSerializer(covering).data


class EntryFilter(filters.FilterSet):
    staff = filters.CharFilter(method="by_member", help_text="Name of a member of staff, whose pseudonym is the actor.")
    subject_type = filters.CharFilter(field_name="payload__subject_type")
    subject_id = filters.CharFilter(field_name="payload__subject_id")
    since = Instant(field_name="recorded_at", lookup_expr="gte")
    until = Instant(field_name="recorded_at", lookup_expr="lt")

    class Meta:
        model = Entry
        fields = ("type", "actor")

    def by_member(self, rows: QuerySet[Entry], name: str, value: str) -> QuerySet[Entry]:
        return rows.filter(actor__in=queries.actors_named(value))


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


class EntryDetail(APIView):
    permission_classes = (may("audit.view_entry"),)

    @extend_schema(responses=WholeEntrySerializer)
    def get(self, request: Request, pk: int) -> Response:
        """One entry with what it follows, what it commits to, and the checkpoint that signs it."""
        entry = queries.find_entry(pk)
        withheld = queries.withheld_from(actor_of(request), [entry])
        return Response(WholeEntrySerializer(entry, context={"withheld": withheld}).data)


class ReceiptEntrySerializer(serializers.Serializer[Any]):
    sequence = serializers.IntegerField()
    time = serializers.CharField()
    type = serializers.CharField()
    actor = serializers.CharField()
    previous = serializers.CharField()
    commitment = serializers.CharField()
    salt = serializers.CharField()
    payload = serializers.CharField(help_text="The JSON that was committed to, as text.")


class ReceiptSerializer(serializers.Serializer[Any]):
    amulet_receipt = serializers.IntegerField(help_text="Its form.")
    size = serializers.IntegerField(help_text="Entries that the checkpoint covers.")
    path = serializers.ListField(child=serializers.CharField(), help_text="From the entry to the signed root.")
    checkpoint = serializers.CharField(help_text="The signed text.")
    entry = ReceiptEntrySerializer()


class Receipt(APIView):
    permission_classes = (may("audit.export_entry"),)

    @extend_schema(responses=ReceiptSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """One entry and the proof that a signed checkpoint covers it, for `amulet audit receipt`."""
        receipt = receipt_for(actor_of(request), queries.find_entry(pk))
        return Response(receipt, headers={"Cache-Control": "no-store"})


def receipt_for(actor: User, entry: Entry) -> dict[str, Any]:
    """Raises what `receipt_of` does, and NotFound for who is to judge before they hear what it says."""
    if queries.withheld_from(actor, [entry]):
        raise NotFound(
            _("The model's answer is not shown before experts have judged the photograph."), reason="withheld"
        )
    return receipt_of(entry.sequence)


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
    erased_by_hand = serializers.IntegerField(
        help_text="Entries that tell, each of one of those, that an officer erased it, and on what ground."
    )
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


class SinceSerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField(
        default=None,
        help_text="Begin behind the newest checkpoint before everything of this time; left out: at the beginning.",
    )


class Export(APIView):
    permission_classes = (may("audit.export_entry"),)

    @extend_schema(parameters=[SinceSerializer], responses={(200, EXPORT_TYPE): OpenApiTypes.BINARY})
    def get(self, request: Request) -> StreamingHttpResponse:
        """The log with its checkpoints, for `amulet audit verify`; its last entry tells of this call."""
        if unknown := request.query_params.keys() - SinceSerializer().fields.keys():
            raise Invalid(_("There is no such parameter; there is: since."), field=min(unknown)[:100])
        if request.query_params.get("since", "-").strip() == "":
            raise Invalid(_("{field} has no value: leave it out, or say which").format(field="since"), field="since")
        since = checked(SinceSerializer(data=request.query_params))["since"]
        try:
            return export_response(actor_of(request), since=None if since is None else in_utc(since))
        except ValueError as error:
            raise Invalid(_("There is no such day."), field="since") from error


def export_response(actor: User, *, since: datetime | None = None) -> StreamingHttpResponse:
    """Record the export, then stream the log as it stands. Raises NotAvailable.

    since: all of this time and later, with what the checkpoint before it leaves unsigned; a checkpoint behind it pins
    where it begins. None: everything.
    """
    key = queries.public_key()
    with transaction.atomic():
        after = None if since is None else queries.before_all_since(since)
        first = 1 if after is None else after.size + 1
        last = record(
            actor=actor, action="audit.exported", subject_type="audit", subject_id="", details={"first": first}
        )
    return StreamingHttpResponse(
        export(key, after=after, last=last, without=queries.predictions_withheld_from(actor)),
        content_type=EXPORT_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="audit-{last}.jsonl"',
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        },
    )


urlpatterns = [
    path("audit/entries/", EntryList.as_view()),
    path("audit/entries/<int:pk>/", EntryDetail.as_view()),
    path("audit/entries/<int:pk>/receipt/", Receipt.as_view()),
    path("audit/checkpoints/", CheckpointList.as_view()),
    path("audit/verification/", Verification.as_view()),
    path("audit/export/", Export.as_view()),
]
