"""From a training, and from an evaluation, to the one page that shows either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.data.folder import Folder
from training.evaluation.assessment import Answered, Assessment
from training.evaluation.crossvalidation import OutOfFold
from training.evaluation.evaluate import Evaluation
from training.evaluation.figures import outside_areas
from training.evaluation.judgement import OutsideSeen
from training.evaluation.report import OutsideShown, Subject, mistakes_of
from training.evaluation.unseen import LeftOut
from training.listing import counted
from training.served.answers import GraphModel
from training.statistics.intervals import Interval


def of_run(
    model: GraphModel,
    folder: Folder,
    found: OutOfFold,
    answered: Answered,
    assessment: Assessment,
    left_out: LeftOut,
    *,
    course: Mapping[str, Any] | None = None,
) -> Subject:
    """A training's own report: every photograph answered by versions that never saw it.

    model: the version that is served; it draws the heat maps.  course: how its network was tuned.
    """
    card = model.card
    folds = int(found.fold.max()) + 1
    shown, in_all = mistakes_of(folder.photos, answered, model)
    return Subject(
        card=card,
        measured=f"{folds}-fold cross-validation on {counted(len(folder.photos), 'photograph')}, copies of one "
        f"photograph never on both sides: each is answered by versions that did not see it.",
        explained_by="Answers and confidence are out of fold; the heat maps are the final version's, which has seen "
        "some of these photographs.",
        answered=answered,
        assessment=assessment,
        outside={
            name: _shown(found, name, area) for name, area in outside_areas(found, seed=card.training.seed).items()
        },
        unseen={label: each.auroc for label, each in left_out.items()},
        mistakes=shown,
        mistakes_in_all=in_all,
        card_figures=card.metrics,
        facts=_facts(folder.path.resolve().name, folder.fingerprint, folder.per_class, {"folds": str(folds)}),
        course=course,
    )


def of_evaluation(model: GraphModel, found: Evaluation) -> Subject:
    """The report of `amulet evaluate`."""
    shown, in_all = mistakes_of(found.known.photos, found.answered, model)
    per_class = {row.label: row.photos for row in found.assessment.per_class if row.photos}
    unreadable = {"left out": ", ".join(item.path.name for item in found.unreadable)} if found.unreadable else {}
    return Subject(
        card=found.card,
        measured=f"measured on {counted(len(found.known.photos), 'photograph')} of {found.path.resolve().name} "
        f"through the graph that is served.",
        explained_by="",
        answered=found.answered,
        assessment=found.assessment,
        outside={
            name: OutsideShown(
                OutsideSeen(figures.photos, figures.auroc, figures.rejected),
                found.others[name].scores,
                found.placed_borders[name],
            )
            for name, figures in found.outside.items()
        },
        unseen={},
        mistakes=shown,
        mistakes_in_all=in_all,
        card_figures=(),
        facts=_facts(found.path.resolve().name, found.fingerprint, per_class, unreadable),
        trained_on=found.trained_on.said,
    )


def _shown(found: OutOfFold, name: str, area: Interval) -> OutsideShown:
    rejected = found.outside_rejected[name]
    return OutsideShown(OutsideSeen(len(rejected), area, float(rejected.mean())), found.outside[name].ravel())


def _facts(
    name: str, fingerprint: str, per_class: Mapping[str, int], more: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    return (
        ("data", name),
        ("photographs", str(sum(per_class.values()))),
        *((f"of {label}", str(count)) for label, count in per_class.items()),
        ("fingerprint", fingerprint),
        *more.items(),
    )
