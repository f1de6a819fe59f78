"""Pages for drift: every comparison, alerts first; one comparison with its plot."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display

from console.drift import expectations, performance_page, queries
from console.drift.finding_page import finding_context
from console.drift.models import EVERYBODY, Against, Finding, Outcome
from console.drift.names import name_of
from console.history import DistinctFilter, HistoryAdmin
from console.pages import page
from console.predictions.names import class_names, client_names
from console.predictions.page import DISCLAIMERS
from console.staff.rest import actor_of

_EVERYBODY: Final = "everybody"  # in an address, where nothing would mean no filter
_COLOURS: Final = {Outcome.NONE: "success", Outcome.DRIFT: "danger", Outcome.TOO_FEW: "info"}


class ModelFilter(DistinctFilter):
    title, parameter_name, column = gettext_lazy("model"), "model", "model"


class VersionFilter(DistinctFilter):
    title, parameter_name, column = gettext_lazy("version"), "version", "version"


class ClientFilter(DistinctFilter):
    title, parameter_name, column = gettext_lazy("client"), "client", "client"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = client_names()
        found = [(value, names.get(value, value)) for value, _text in super().lookups(request, model_admin)]
        return [(_EVERYBODY, _("all together")), *found]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Finding]) -> QuerySet[Finding]:
        return queryset.filter(client=EVERYBODY) if self.value() == _EVERYBODY else super().queryset(request, queryset)


@admin.register(Finding)
class FindingAdmin(HistoryAdmin):
    list_display = (
        "outcome_badge",
        "measure_text",
        "against_text",
        "effect_text",
        "q_text",
        "seen_text",
        "client_text",
        "version_text",
    )
    when_empty = gettext_lazy("Comparisons appear here within a quarter of an hour of a version's first answers.")
    list_filter = (
        ("outcome", ChoicesDropdownFilter),
        ("against", ChoicesDropdownFilter),
        ModelFilter,
        VersionFilter,
        ClientFilter,
    )
    sortable_by = ()
    in_order = gettext_lazy("Drift first, and of it the strongest.")
    actions_list = ("performance",)

    class Media:
        css: ClassVar = {"all": ("predictions/pictures.css", "drift/drift.css")}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Finding]:
        return queries.findings()

    def prepare(self, request: HttpRequest, rows: list[Any]) -> None:
        names = client_names()
        classes = class_names()
        for row in rows:
            row.measure_name = name_of(row.measure, classes)
            row.client_name = names.get(row.client, row.client) if row.client else ""

    @action(
        description=gettext_lazy("Expected accuracy"), icon="trending_up", url_path="performance", permissions=["view"]
    )
    def performance(self, request: HttpRequest) -> HttpResponse:
        """How right each version is expected to be, and how that went. Four queries."""
        return page(
            request,
            self,
            "drift/performance.html",
            title=_("Expected accuracy"),
            media=self.media,
            versions=performance_page.versions(now()),
            days=expectations.DAYS,
            disclaimers=DISCLAIMERS,
        )

    @display(description=gettext_lazy("Client"))
    def client_text(self, row: Any) -> str:
        return str(row.client_name) or _("all together")

    @display(description=gettext_lazy("Outcome"), label=_COLOURS)
    def outcome_badge(self, row: Finding) -> tuple[str, str]:
        return row.outcome, str(Outcome(row.outcome).label)

    @display(description=gettext_lazy("Measure"))
    def measure_text(self, row: Any) -> str:
        return str(row.measure_name)

    @display(description=gettext_lazy("Compared with"))
    def against_text(self, row: Finding) -> str:
        return str(Against(row.against).label)

    @display(description=gettext_lazy("Effect"))
    def effect_text(self, row: Finding) -> str:
        return f"{row.effect:.2f}"

    @display(description=gettext_lazy("False alarms (q)"))
    def q_text(self, row: Finding) -> str:
        return "< 0.001" if row.q < 0.001 else f"{row.q:.3f}"

    @display(description=gettext_lazy("Predictions now"))
    def seen_text(self, row: Finding) -> str:
        return f"{row.n_window:,}"

    @display(description=gettext_lazy("Version"))
    def version_text(self, row: Finding) -> str:
        return " ".join(row.of)

    def row_page(self, request: HttpRequest, row: Finding) -> HttpResponse:
        return page(
            request,
            self,
            "drift/finding.html",
            media=self.media,
            **finding_context(row, person=actor_of(request), at=now()),
        )
