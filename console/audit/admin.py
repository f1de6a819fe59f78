"""Pages for the audit log: entries, checkpoints, the check, the export."""

from __future__ import annotations

import json
from typing import Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import action, display

from console.audit import chain, queries
from console.audit.api import export_response
from console.audit.checking import ENTRIES_MAX, check_newest
from console.audit.models import Checkpoint, Entry
from console.audit.names import detail_name, subject_name, type_name
from console.audit.words import words_with
from console.history import DistinctFilter, HistoryAdmin
from console.moments import MomentRangeFilter
from console.pages import page
from console.staff.rest import actor_of

# What an entry is about -> the page of it.
_PAGE_OF: Final = {
    "prediction": "admin:predictions_prediction_change",
    "privacy_request": "admin:privacy_privacyrequest_change",
    "subject": "admin:vault_subject_change",
}


class TypeFilter(DistinctFilter):
    title, parameter_name, column = gettext_lazy("type"), "type", "type"

    def text_of(self, value: str) -> str:
        return type_name(value)


@admin.register(Entry)
class EntryAdmin(HistoryAdmin):
    list_display = ("sequence", "recorded_at", "type_text", "about", "actor_name")
    list_filter = (TypeFilter, ("recorded_at", MomentRangeFilter))
    search_fields = ("sequence",)
    search_help_text = gettext_lazy("Number of an entry, id of what it is about, or name of a member of staff, in full")
    ordering = ("-sequence",)
    sortable_by = ()
    actions_list = ("verify", "export")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Along time where a time is asked for: along the chain, everything newer would be passed over one by one."""
        return queries.ALONG_TIME if any(name.startswith("recorded_at") for name in request.GET) else ("-sequence",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        return queries.entries_with_payloads()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        # Numbers first: one condition over both tables would read every entry.
        wanted = Q(sequence__in=queries.newest_about(term)) | Q(actor=term)
        if term.isdecimal() and len(term) < 19:
            wanted |= Q(sequence=int(term))
        for actor in queries.actors_named(term):
            wanted |= Q(actor=actor)
        return queryset.filter(wanted), False

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        names = queries.staff_names({row.actor for row in rows})
        for row in rows:
            row.actor_text = names.get(row.actor, row.actor)

    @display(description=gettext_lazy("Type"))
    def type_text(self, entry: Entry) -> str:
        return type_name(entry.type)

    @display(description=gettext_lazy("About"))
    def about(self, entry: Entry) -> str:
        payload = getattr(entry, "payload", None)
        if payload is None:
            return _("erased")
        kind, key = payload.about
        return f"{subject_name(kind)} {key}".strip()

    @display(description=gettext_lazy("By"))
    def actor_name(self, entry: Any) -> str:
        return str(entry.actor_text)

    def row_page(self, request: HttpRequest, entry: Entry) -> HttpResponse:
        payload = getattr(entry, "payload", None)
        withheld = bool(queries.withheld_from(actor_of(request), [entry]))
        kind, key = payload.about if payload else ("", "")
        words = words_with(entry)
        typed = None if words is None else getattr(words, "payload", None)
        return page(
            request,
            self,
            "audit/entry.html",
            title=_("Entry {number}").format(number=entry.sequence),
            subtitle=type_name(entry.type),
            entry=entry,
            time=chain.time_text(entry.recorded_at),
            actor=queries.staff_names({entry.actor}).get(entry.actor, entry.actor),
            payload=payload,
            subject=subject_name(kind),
            subject_id=key,
            withheld=withheld,
            told=[] if payload is None or withheld else _rows(json.loads(payload.text)),
            about_url=_page_of(kind, key),
            words=words,
            by_hand=queries.erased_by_hand(entry, words),
            typed=[] if typed is None else [row for row in _rows(json.loads(typed.text)) if row[1] != "act"],
            hashes=[
                (_("Hash"), bytes(entry.entry_hash).hex()),
                (_("Follows"), bytes(entry.previous_hash).hex()),
                (_("Commitment"), bytes(entry.commitment).hex()),
            ],
            checkpoint=queries.covering(entry.sequence),
        )

    # Methods and not permission names: unfold's check looks names up in the database, and the
    # first migration runs the checks before there are tables.
    def has_verifying_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("audit.view_entry")

    def has_exporting_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("audit.export_entry")

    @action(description=gettext_lazy("Verify"), icon="verified_user", permissions=["verifying"])
    def verify(self, request: HttpRequest) -> HttpResponse:
        checked = check_newest()
        return page(
            request,
            self,
            "audit/checked.html",
            title=_("Verification of the audit trail"),
            checked=checked,
            report=checked.report,
            unsigned=checked.report.last - checked.report.signed_through,
            rate=int(checked.report.entries / checked.took_s) if checked.took_s > 0 else 0,
            entries_max=ENTRIES_MAX,
        )

    @action(description=gettext_lazy("Export"), icon="download", permissions=["exporting"])
    def export(self, request: HttpRequest) -> HttpResponse:
        return export_response(actor_of(request))  # type: ignore[return-value]  # a response all the same


@admin.register(Checkpoint)
class CheckpointAdmin(HistoryAdmin):
    list_display = ("size", "created_at")
    when_empty = gettext_lazy(
        "The signer makes the first one within a minute of its start; the home page says how it does."
    )
    ordering = ("-size",)
    sortable_by = ()
    fieldsets = (
        (
            None,
            {
                "fields": ("size", "created_at", "text"),
                "description": gettext_lazy(
                    "The log's key signs how many entries there are and what they come to. Kept elsewhere, it shows "
                    "whether anybody rewrote the log since: amulet audit verify checks it with the public key."
                ),
            },
        ),
    )
    readonly_fields = ("text",)

    @display(description=gettext_lazy("Signed text"))
    def text(self, checkpoint: Checkpoint) -> str:
        return checkpoint.note


def _rows(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What the entry says: each field by its name for people, by its own, and its value."""
    return [
        (detail_name(name), name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in told.items()
        if name != "about"
    ]


def _page_of(subject_type: str, subject_id: str) -> str:
    try:
        return reverse(_PAGE_OF[subject_type], args=[subject_id])
    except (KeyError, NoReverseMatch):
        return ""
