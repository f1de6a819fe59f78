"""Photographs that may carry the wrong label: confident learning on out-of-fold estimates.

A class's photographs set the bar that a foreign photograph must pass to be suspected of
belonging to it: the mean probability that they get for their own class (Northcutt, Jiang
and Chuang 2021, eq. 2 and 3). The estimate of a photograph comes from a model that saw
neither it nor a copy of it.

That a photograph looks like another class says something of its label only where features tell
classes apart: all of them together better than chance, and the two in question. Elsewhere nearly every
photograph is a suspect, and none of them with reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.data.duplicates import group_numbers
from training.data.folder import LOOK_PX, Photo
from training.data.splits import divide
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap, of_class_mean

Array = NDArray[np.floating[Any]]

FOLDS_MAX: Final = 5
_PENALTY: Final = 0.02  # scikit-learn's C on standardised features: strong, there are few photographs
_CELLS: Final = 8  # a look's gradients are summed over so many by so many cells
_DIRECTIONS: Final = 8
_ALPHA: Final = 0.05  # of the test whether two classes are told apart
_PROBABILITY_MIN: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Suspect:
    """A photograph that looks like another class's."""

    photo: Photo
    suggested: str
    probability: float  # of the suggested class, out of fold
    given_probability: float  # of the label that it carries


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of the labels of a folder."""

    suspects: tuple[Suspect, ...] | None  # the most doubtful first; None: they cannot be judged
    why: str = ""  # they cannot
    blind: bool = False  # whether that is because the features tell the classes no better than chance
    # Classes that the features do not tell apart, by name: what they doubt between the two is left out.
    untold: tuple[tuple[str, str], ...] = ()


def judged(together: Sequence[Sequence[Photo]], features: Mapping[str, Array], *, seed: int) -> Judged:
    """The photographs whose label is doubtful, as far as these features can tell.

    together: groups of copies, as `duplicates.groups` gives them.  features: relative path -> [size].
    Nothing is judged where a class has fewer than two independent photographs, and where the features name held-out
    photographs no better than chance: where the interval of their balanced accuracy holds 1 by the number of classes,
    which is what answers that know nothing of the labels have, however many photographs each class has.
    """
    labels = {photo.label for members in together for photo in members}
    if len(labels) < 2:
        return Judged(None, "there are not two classes to compare")
    independent = Counter(label for members in together for label in {photo.label for photo in members})
    folds = min(FOLDS_MAX, *independent.values())
    if folds < 2:
        lone = min(independent, key=lambda label: (independent[label], label))
        return Judged(None, f"{lone} has fewer than two independent photographs")
    parts = divide(together, {str(number): 1.0 for number in range(folds)}, seed=seed, everywhere=False)
    photos = [photo for part in parts.values() for photo in part]
    classes = sorted(labels)
    truth = np.array([classes.index(photo.label) for photo in photos])
    fold = np.concatenate([np.full(len(part), number) for number, part in enumerate(parts.values())])
    rows = np.stack([features[photo.relative] for photo in photos])
    estimate = out_of_fold(rows, truth, fold, classes=len(classes))
    groups = group_numbers(photos, together)
    right = _balanced_accuracy(estimate, truth, groups, seed=seed)
    if right.low <= 1.0 / len(classes):
        return Judged(
            None,
            f"they name {right.value:.0%} of the photographs of a typical class rightly ({right.low:.0%} to "
            f"{right.high:.0%}), and chance alone {1.0 / len(classes):.0%}",
            blind=True,
        )
    doubted = doubtful(estimate, truth)
    pairs = {tuple(sorted((int(truth[row]), better))) for row, better in doubted}
    untold = {pair for pair in pairs if not _told_apart(estimate, truth, groups, *pair)}
    return Judged(
        tuple(
            Suspect(
                photo=photos[row],
                suggested=classes[better],
                probability=float(estimate[row, better]),
                given_probability=float(estimate[row, truth[row]]),
            )
            for row, better in doubted
            if tuple(sorted((int(truth[row]), better))) not in untold
        ),
        untold=tuple((classes[first], classes[second]) for first, second in sorted(untold)),
    )


def _balanced_accuracy(estimate: Array, labels: NDArray[np.int64], groups: NDArray[np.intp], *, seed: int) -> Interval:
    answers = estimate.argmax(axis=1)
    found = bootstrap(
        lambda rows: metrics.balanced_accuracy(labels[rows], answers[rows]), [labels], seed=seed, groups=[groups]
    )
    return of_class_mean(found, groups, labels)


def _told_apart(estimate: Array, labels: NDArray[np.int64], groups: NDArray[np.intp], first: int, second: int) -> bool:
    """Whether evidence for one of two classes against the other is higher on its own photographs, by more than luck.

    The one-sided Mann-Whitney test, as look-alikes are found by in training; copies are one observation.
    """
    evidence = np.log(np.maximum(estimate[:, first], _PROBABILITY_MIN))
    evidence = evidence - np.log(np.maximum(estimate[:, second], _PROBABILITY_MIN))
    own, other = (
        [float(evidence[(labels == label) & (groups == group)].mean()) for group in np.unique(groups[labels == label])]
        for label in (first, second)
    )
    return bool(mannwhitneyu(own, other, alternative="greater").pvalue < _ALPHA)


def out_of_fold(rows: Array, labels: NDArray[np.int64], fold: NDArray[np.int64], *, classes: int) -> Array:
    """Probabilities [n, classes] for rows [n, size], each from a model fitted on the other folds."""
    estimate = np.zeros((len(rows), classes))
    for number in np.unique(fold):
        held_out = fold == number
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, class_weight="balanced", max_iter=1000))
        model.fit(rows[~held_out], labels[~held_out])
        estimate[np.ix_(held_out, model.classes_)] = model.predict_proba(rows[held_out])
    return estimate


def doubtful(probabilities: Array, labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(row, better class) where another class passes its own bar and the given label does not lead.

    probabilities: [n, classes], out of fold.  labels: [n].  Sorted by how far the given class
    is behind, furthest first.
    """
    classes = probabilities.shape[1]
    bars = np.array(
        [
            probabilities[labels == label, label].mean() if np.any(labels == label) else np.inf
            for label in range(classes)
        ]
    )
    passed = np.where(probabilities >= bars, probabilities, -np.inf)
    better = passed.argmax(axis=1)
    given = probabilities[np.arange(len(labels)), labels]
    gain = probabilities[np.arange(len(labels)), better] - given
    found = [
        row
        for row in range(len(labels))
        if np.isfinite(passed[row, better[row]]) and better[row] != labels[row] and gain[row] > 0
    ]
    return [(row, int(better[row])) for row in sorted(found, key=lambda row: -gain[row])]


def shape_features(photos: Sequence[Photo]) -> Mapping[str, Array]:
    """Features that need no trained network: directions of edges, cell by cell, in each small picture.

    After histograms of oriented gradients (Dalal and Triggs 2005), with the sign of the
    direction dropped and each cell's histogram scaled by those around it.
    """
    return {photo.relative: _edges(photo) for photo in photos}


def _edges(photo: Photo) -> Array:
    look = np.frombuffer(photo.look, dtype=np.uint8).reshape(LOOK_PX, LOOK_PX).astype(np.float64)
    down, right = np.gradient(look)
    strength = np.hypot(down, right)
    direction = np.floor((np.arctan2(down, right) % np.pi) / np.pi * _DIRECTIONS).astype(int) % _DIRECTIONS
    cell = np.arange(LOOK_PX) * _CELLS // LOOK_PX
    places = (cell[:, None] * _CELLS + cell[None, :]) * _DIRECTIONS + direction
    sums = np.bincount(places.ravel(), weights=strength.ravel(), minlength=_CELLS * _CELLS * _DIRECTIONS)
    cells = sums.reshape(_CELLS, _CELLS, _DIRECTIONS)
    energy = np.pad((cells**2).sum(axis=2), 1, mode="edge")
    around = sum(energy[y : y + _CELLS, x : x + _CELLS] for y in range(3) for x in range(3))
    scaled: Array = np.sqrt(cells / np.sqrt(np.asarray(around) + 1e-6)[..., None]).ravel()
    return scaled
