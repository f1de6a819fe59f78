"""Pages of experiments."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display

from console.pages import ReadOnlyAdmin, page
from console.rollout.experiment_page import OUTCOME_COLOURS, experiment_context
from console.rollout.models import Experiment, Measure, Outcome


@admin.register(Experiment)
class ExperimentAdmin(ReadOnlyAdmin):
    list_display = ("hypothesis", "version_name", "measure_text", "outcome_badge", "size", "settled_at")
    list_filter = (("outcome", ChoicesCheckboxFilter), ("measure", ChoicesCheckboxFilter))
    list_filter_submit = True
    list_select_related = ("route__version",)
    ordering = ("-pk",)
    in_order = gettext_lazy("The newest first.")
    when_empty = gettext_lazy("Start one from the page of an approved version.")

    @display(description=gettext_lazy("Version"))
    def version_name(self, experiment: Experiment) -> str:
        return experiment.route.version.version

    @display(description=gettext_lazy("Measure"))
    def measure_text(self, experiment: Experiment) -> str:
        return str(Measure(experiment.measure).label)

    @display(description=gettext_lazy("Outcome"), label=OUTCOME_COLOURS)
    def outcome_badge(self, experiment: Experiment) -> tuple[str, str]:
        return experiment.outcome, str(Outcome(experiment.outcome).label)

    def row_page(self, request: HttpRequest, experiment: Experiment) -> HttpResponse:
        return page(
            request,
            self,
            "rollout/experiment.html",
            title=_("Experiment with {version}").format(version=experiment.route.version),
            **experiment_context(experiment),
        )
