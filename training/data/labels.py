"""Photographs that may carry the wrong label: confident learning on out-of-fold estimates.

A class's photographs set the bar that a foreign photograph must pass to be suspected of
belonging to it: the mean probability that they get for their own class (Northcutt, Jiang
and Chuang 2021, eq. 2 and 3). The estimate of a photograph comes from a model that saw
neither it nor a copy of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.data.folder import LOOK_PX, Photo
from training.data.splits import divide

Array = NDArray[np.floating[Any]]

FOLDS_MAX: Final = 5
_PENALTY: Final = 0.02  # scikit-learn's C on standardised features: strong, there are few photographs
_CELLS: Final = 8  # a look's gradients are summed over so many by so many cells
_DIRECTIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Suspect:
    """A photograph that looks like another class's."""

    photo: Photo
    suggested: str
    probability: float  # of the suggested class, out of fold
    given_probability: float  # of the label that it carries


def suspects(
    together: Sequence[Sequence[Photo]], features: Mapping[str, Array], *, seed: int
) -> tuple[Suspect, ...] | None:
    """The photographs whose label is doubtful, the most doubtful first.

    together: groups of copies, as `duplicates.groups` gives them.  features: relative path ->
    [size].  None where a class has fewer than two independent photographs: there is nothing
    to compare with.
    """
    labels = {photo.label for members in together for photo in members}
    independent = Counter(label for members in together for label in {photo.label for photo in members})
    folds = min(FOLDS_MAX, *(independent[label] for label in labels)) if labels else 0
    if folds < 2 or len(labels) < 2:
        return None
    parts = divide(together, {str(number): 1.0 for number in range(folds)}, seed=seed, everywhere=False)
    photos = [photo for part in parts.values() for photo in part]
    classes = sorted(labels)
    truth = np.array([classes.index(photo.label) for photo in photos])
    fold = np.concatenate([np.full(len(part), number) for number, part in enumerate(parts.values())])
    rows = np.stack([features[photo.relative] for photo in photos])
    estimate = out_of_fold(rows, truth, fold, classes=len(classes))
    doubted = doubtful(estimate, truth)
    return tuple(
        Suspect(
            photo=photos[row],
            suggested=classes[better],
            probability=float(estimate[row, better]),
            given_probability=float(estimate[row, truth[row]]),
        )
        for row, better in doubted
    )


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
