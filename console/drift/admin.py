"""Pages for drift: every comparison, alerts first; one comparison with its plot."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from console.drift import plots, queries
from console.drift.models import Against, Finding, Outcome
from console.drift.services import EFFECT_MIN, LEVEL, SAMPLES_MIN, WINDOW
from console.history import DistinctFilter, HistoryAdmin
from console.pages import page
from console.predictions.models import Verdict
from console.predictions.names import class_names
from model_store.reference import Reference

_COLOURS: Final = {Outcome.NONE: "success", Outcome.DRIFT: "danger", Outcome.TOO_FEW: "info"}
_NAMES: Final = {
    "confidence": gettext_noop("confidence"),
    "margin": gettext_noop("lead over the second candidate"),
    "verdict": gettext_noop("verdicts"),
    "predicted_class": gettext_noop("classes"),
    "sharpness_var": gettext_noop("sharpness"),
    "brightness_ratio": gettext_noop("brightness"),
    "contrast_ratio": gettext_noop("contrast"),
}


class VersionFilter(DistinctFilter):
    title, parameter_name, column = gettext_lazy("version"), "version", "version"


@admin.register(Finding)
class FindingAdmin(HistoryAdmin):
    list_display = ("outcome_badge", "measure_text", "against_text", "effect_text", "q_text", "n_window", "version")
    when_empty = gettext_lazy("Findings appear here when what is asked differs from what a model learnt from.")
    list_filter = (("outcome", ChoicesDropdownFilter), ("against", ChoicesDropdownFilter), VersionFilter)
    sortable_by = ()

    class Media:
        css: ClassVar = {"all": ("drift/drift.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Finding]:
        return queries.findings()

    @display(description=gettext_lazy("Outcome"), label=_COLOURS)
    def outcome_badge(self, row: Finding) -> tuple[str, str]:
        return row.outcome, str(Outcome(row.outcome).label)

    @display(description=gettext_lazy("Measure"))
    def measure_text(self, row: Finding) -> str:
        return name_of(row.measure)

    @display(description=gettext_lazy("Compared with"))
    def against_text(self, row: Finding) -> str:
        return str(Against(row.against).label)

    @display(description=gettext_lazy("Effect"))
    def effect_text(self, row: Finding) -> str:
        return f"{row.effect:.2f}"

    @display(description="q")
    def q_text(self, row: Finding) -> str:
        return "< 0.001" if row.q < 0.001 else f"{row.q:.3f}"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None or not self.has_view_permission(request, row):
            missing: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return missing
        return page(
            request,
            self,
            "drift/finding.html",
            title=_("{measure}, {version}").format(measure=name_of(row.measure), version=row.version),
            media=self.media,
            row=row,
            outcome=Outcome(row.outcome).label,
            sentence=_sentence(row),
            against=Against(row.against).label,
            plot=_plot(row),
            numbers=[
                (_("Test"), "Kolmogorov-Smirnov" if row.test == "ks" else "χ²"),
                (_("Statistic"), f"{row.statistic:.4g}"),
                (_("Effect"), f"{row.effect:.3f}"),
                (_("Error of the sketches"), f"{row.error:.4f}"),
                ("PSI", f"{row.psi:.3f}"),
                ("p", f"{row.p:.3g}"),
                (_("q, corrected for the number of measures"), f"{row.q:.3g}"),
                (_("Predictions before"), f"{row.n_reference:,}"),
                (_("Predictions now"), f"{row.n_window:,}"),
            ],
        )


def name_of(measure: str) -> str:
    """What a measure is called."""
    if measure.startswith("score_"):
        return _("score of {detector}").format(detector=measure.removeprefix("score_"))
    return _(_NAMES[measure]) if measure in _NAMES else measure


def _sentence(row: Finding) -> str:
    """What the comparison says, in plain words."""
    if row.outcome == Outcome.TOO_FEW:
        return _("Fewer than {least} predictions in seven days: nothing can be said.").format(least=SAMPLES_MIN)
    if row.outcome == Outcome.DRIFT:
        return _(
            "It has changed by more than chance explains (q ≤ {level}) and by enough to matter (effect ≥ {least})."
        ).format(level=LEVEL, least=EFFECT_MIN)
    if row.q <= LEVEL:
        return _("It has changed, but by too little to matter (effect below {least}).").format(least=EFFECT_MIN)
    return _("What is seen is within what chance explains.")


def _plot(row: Finding) -> SafeString | str:
    """Both distributions as they are now; empty when one is not at hand any more."""
    at = now()
    window = queries.window(row.version, ends_at=at, length=WINDOW)
    before: Reference | None = (
        queries.reference_of(row.version)
        if row.against == Against.REFERENCE
        else queries.window(row.version, ends_at=at - WINDOW, length=WINDOW)
    )
    title = name_of(row.measure)
    if before is None:
        return ""
    if row.measure in before.samples and row.measure in window.samples:
        return plots.lines(before.samples[row.measure], window.samples[row.measure], title=title)
    if row.measure in before.counts and row.measure in window.counts:
        names = {**class_names(), **{each.name: str(each.label) for each in Verdict}}
        return plots.bars(before.counts[row.measure], window.counts[row.measure], title=title, names=names)
    return ""
