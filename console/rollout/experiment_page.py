"""What the page of one experiment shows, as plain values for its template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from console.rollout.experiments import Standing, stand
from console.rollout.group_sequential import LOOKS
from console.rollout.models import Experiment, Measure, Outcome
from console.rollout.route_page import share_text

OUTCOME_COLOURS: Final[Mapping[str, str]] = {
    Outcome.RUNNING: "info",
    Outcome.SUCCESSFUL: "success",
    Outcome.FAILED: "danger",
    Outcome.INCONCLUSIVE: "warning",
}


def experiment_context(experiment: Experiment) -> dict[str, Any]:
    """The context of `rollout/experiment.html`. Three queries at most."""
    standing = stand(experiment)
    percent = round(min(100.0, 100 * standing.watched.n / experiment.size), 1)
    return {
        "experiment": experiment,
        "outcome": str(Outcome(experiment.outcome).label),
        "colour": OUTCOME_COLOURS[experiment.outcome],
        "sentence": _sentence(experiment, standing),
        "measure": str(Measure(experiment.measure).label),
        "baseline": f"{experiment.baseline_ratio:.1%}",
        "effect": number_format(100 * experiment.effect_ratio, 1),
        "alpha": f"{experiment.alpha:.0%}",
        "power": f"{experiment.power:.0%}",
        "looks": LOOKS,
        "look": standing.look,
        "percent": percent,
        "watched": share_text(standing.watched),
        "standard": share_text(standing.standard),
        "questions": [
            (_("better than production"), standing.better),
            (_("not better by what matters"), standing.not_worth),
        ]
        if standing.watched.n and standing.standard.n
        else [],
        "border": standing.border,
    }


def _sentence(experiment: Experiment, standing: Standing) -> str:
    """The outcome in plain words."""
    effect = number_format(100 * experiment.effect_ratio, 1)
    if experiment.outcome == Outcome.SUCCESSFUL:
        return _("The new version is better than production.")
    if experiment.outcome == Outcome.FAILED:
        return _("The new version is not better by {effect} points.").format(effect=effect)
    if experiment.outcome == Outcome.INCONCLUSIVE and standing.watched.n < experiment.size:
        return _("The canary ended before there were enough answers: nothing can be said.")
    if experiment.outcome == Outcome.INCONCLUSIVE:
        return _("All planned answers are there, and neither question has an answer.")
    return _("{n} of {size} answers of the new version are there; look {look} of {looks}.").format(
        n=number_format(standing.watched.n, force_grouping=True),
        size=number_format(experiment.size, force_grouping=True),
        look=standing.look,
        looks=LOOKS,
    )
