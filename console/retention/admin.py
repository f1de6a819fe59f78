"""The report of retention: a row for each rule."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.timezone import now
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from unfold.decorators import action, display

from console.history import HistoryAdmin
from console.pages import page
from console.retention.models import Applied
from console.retention.queries import overdue
from console.retention.record import as_csv, as_document, record
from console.retention.rules import RULE


@admin.register(Applied)
class AppliedAdmin(HistoryAdmin):
    list_display = ("what", "time", "badge", "due_count", "deleted", "held_text", "failed", "last_at", "next_at")
    list_display_links = None
    sortable_by = ()
    in_order = ""
    actions_list = ("record", "record_csv", "record_json")
    when_empty = gettext_lazy("The rules are applied for the first time within ten minutes of the start.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Applied]:
        return Applied.objects.filter(rule__in=RULE)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("privacy.view_privacyrequest")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_record_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return self.has_view_permission(request)

    def row_page(self, request: HttpRequest, row: Applied) -> HttpResponse:
        return redirect("admin:retention_applied_changelist")  # the list says all that there is of a rule

    @action(description=gettext_lazy("Record of processing"), url_path="record", permissions=["record"])
    def record(self, request: HttpRequest) -> HttpResponse:
        rows = list(record(personal_only=True))
        return page(
            request,
            self,
            "retention/record.html",
            title=_("Record of processing"),
            activities=[
                (purpose, basis, [row for row in rows if row.purpose == purpose])
                for purpose, basis in dict.fromkeys((row.purpose, row.basis) for row in rows)
            ],
            nothing=sum(1 for _row in record()) - len(rows),
        )

    @action(description=gettext_lazy("As CSV"), url_path="record/csv", permissions=["record"])
    def record_csv(self, request: HttpRequest) -> HttpResponse:
        return _file(as_csv(), "text/csv; charset=utf-8", "csv")

    @action(description=gettext_lazy("As JSON"), url_path="record/json", permissions=["record"])
    def record_json(self, request: HttpRequest) -> HttpResponse:
        return _file(json.dumps(as_document(), ensure_ascii=False, indent=1), "application/json", "json")

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        late = set(overdue(now()).values_list("pk", flat=True))
        for row in rows:
            row.is_late = row.pk in late

    @display(description=gettext_lazy("What is kept, and for what"))
    def what(self, row: Applied) -> str:
        return str(RULE[row.rule].text)

    @display(description=gettext_lazy("How long"))
    def time(self, row: Applied) -> str:
        return str(RULE[row.rule].time)

    @display(description=gettext_lazy("State"), label={"late": "danger", "well": "success"})
    def badge(self, row: Any) -> tuple[str, str]:
        if not row.is_late:
            return "well", _("in time")
        return "late", f"{_('overdue')} ({row.problem})" if row.problem else _("overdue")

    @display(description=gettext_lazy("Due today"))
    def due_count(self, row: Applied) -> int:
        return row.due

    @display(description=gettext_lazy("Kept, and why"))
    def held_text(self, row: Applied) -> str:
        return f"{row.held}: {RULE[row.rule].why_held}" if row.held else "0"


def _file(content: str, kind: str, ending: str) -> HttpResponse:
    name = f"record-of-processing-{get_language() or 'en'}.{ending}"
    return HttpResponse(content, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
