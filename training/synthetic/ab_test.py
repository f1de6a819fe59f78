"""Whether synthetic photographs help: heads fitted on real ones and on both, measured on real ones that neither saw.

A synthetic photograph is learnt from only where its original is: it is made from the training part of
each fold, or it is not used there. Both heads answer the same photographs, so differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.data.duplicates import group_numbers
from training.data.splits import divide
from training.evaluation.crossvalidation import Groups
from training.fitting.features import Features
from training.fitting.head_only import fit_head
from training.fitting.recipe import Recipe
from training.models.heads import Head
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap_all

FIGURES: Final = ("balanced_accuracy", "macro_f1", "balanced_accuracy_other_table")


@dataclass(frozen=True, slots=True)
class Seen:
    """Real and synthetic photographs as the backbone sees them with one seed."""

    real: Features  # [n]
    elsewhere: NDArray[np.float32]  # [n, size]: the real ones on another table each
    synthetic: Features  # [m]


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is known of the photographs, whatever the seed."""

    groups: Groups  # of the real ones
    row_of: Mapping[str, int]  # relative path of a real one -> row
    labels: NDArray[np.intp]  # [n]
    classes: tuple[str, ...]
    synthetic_labels: NDArray[np.intp]  # [m]
    origins: tuple[frozenset[int], ...]  # [m]: rows of the real ones that each one is made from, or resembles


@dataclass(frozen=True, slots=True)
class Comparison:
    """Real alone, and both minus real; means over seeds, intervals over the real photographs."""

    real: Mapping[str, Interval]
    gain: Mapping[str, Interval]  # by FIGURES
    per_class_f1: Mapping[str, Interval]
    per_class_gain: Mapping[str, Interval]
    learnt_from: float  # synthetic photographs a fold, on average


def compare(
    known: Labelled, look: Callable[[int], Seen], *, recipe: Recipe, seeds: Sequence[int], folds: int
) -> Comparison:
    """look: given a seed, what is seen with it. Raises SplitImpossible."""
    answers = []  # [seeds][real, both][plain, elsewhere]: int [n]
    used = []
    for seed in seeds:
        seen = look(seed)
        found = np.zeros((2, 2, len(known.labels)), np.intp)
        for photos in divide(known.groups, {str(number): 1.0 for number in range(folds)}, seed=seed).values():
            test = np.array([known.row_of[photo.relative] for photo in photos])
            train = np.setdiff1d(np.arange(len(known.labels)), test)
            away = set(test.tolist())
            allowed = np.array([not origin & away for origin in known.origins])
            used.append(int(allowed.sum()))
            heads = (
                _head(seen.real.take(train), known.labels[train], known, recipe),
                _head(
                    _joined(seen.real.take(train), seen.synthetic.take(np.flatnonzero(allowed))),
                    np.concatenate([known.labels[train], known.synthetic_labels[allowed]]),
                    known,
                    recipe,
                ),
            )
            for side, head in enumerate(heads):
                found[side, 0, test] = head.logits(seen.real.plain[test]).argmax(axis=1)
                found[side, 1, test] = head.logits(seen.elsewhere[test]).argmax(axis=1)
        answers.append(found)
    return _measured(known, np.stack(answers), float(np.mean(used)))


def _head(features: Features, labels: NDArray[np.intp], known: Labelled, recipe: Recipe) -> Head:
    rows, photo = features.flat()
    return fit_head(rows, labels[photo], classes=len(known.classes), recipe=recipe)


def _joined(one: Features, other: Features) -> Features:
    return Features(np.concatenate([one.plain, other.plain]), np.concatenate([one.views, other.views]))


def _measured(known: Labelled, answers: NDArray[np.intp], learnt_from: float) -> Comparison:
    labels, classes = known.labels, len(known.classes)
    photos = sorted(
        (each for members in known.groups for each in members), key=lambda each: known.row_of[each.relative]
    )

    def measure(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        truth = labels[rows]
        sides = []
        for side in range(2):
            table = [_figures(truth, found[side][:, rows], classes) for found in answers]
            sides.append(np.mean(table, axis=0))
        return np.concatenate([sides[0], sides[1] - sides[0]])

    found = bootstrap_all(measure, [labels], seed=0, groups=[group_numbers(photos, known.groups)])
    width = len(FIGURES) + classes
    real, gain = found[:width], found[width:]
    return Comparison(
        real=dict(zip(FIGURES, real, strict=False)),
        gain=dict(zip(FIGURES, gain, strict=False)),
        per_class_f1=dict(zip(known.classes, real[len(FIGURES) :], strict=True)),
        per_class_gain=dict(zip(known.classes, gain[len(FIGURES) :], strict=True)),
        learnt_from=learnt_from,
    )


def _figures(truth: NDArray[np.intp], found: NDArray[np.intp], classes: int) -> NDArray[np.float64]:
    """found [2, n]: on its own table and on another one."""
    scores = metrics.class_scores(truth, found[0], classes=classes)
    f1 = [each.f1 or 0.0 for each in scores]
    balanced = [metrics.balanced_accuracy(truth, answered) for answered in found]
    return np.array([balanced[0], np.mean(f1), balanced[1], *f1])
