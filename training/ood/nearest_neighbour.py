"""How much a photograph resembles the training photograph that it resembles most.

Deep nearest neighbours (Sun et al. 2022, section 3) compare directions of features, not their
lengths. Here the directions are those from the mean of the classes in whitened coordinates:
length there is mostly how unusual camera and light are, which the Mahalanobis distance judges,
and direction is what the object looks like. The two fail on different things: coins lie far
away in known directions, an amulet of an unknown family near by in a new one (decision 0012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.blocks import in_blocks
from training.ood.mahalanobis import Mahalanobis

NAME = "nearest_neighbour"
# Of one class: 64 cover its variety, and keep graph and answer time from growing with the data.
REFERENCES_MAX: Final = 64
LENGTH_MIN: Final = 1e-6  # of a direction; whitened lengths are around the root of the embedding's size


@dataclass(frozen=True, slots=True)
class NearestNeighbour:
    """1 - the largest cosine between the whitened embedding and a reference."""

    space: Mahalanobis  # whose origin and whitener make the coordinates
    references: NDArray[np.float64]  # [references, size], rows of length 1
    photos: NDArray[np.intp]  # [references]: which training photograph each one is

    def score(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n] in 0..2; higher is further out."""
        return np.asarray(1.0 - self.cosines(embedding).max(axis=1))

    def cosines(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n, references] in -1..1; higher is more alike."""
        return in_blocks(lambda rows: _directions(self.space.white(rows)) @ self.references.T, embedding)


def fit(
    space: Mahalanobis, embedding: NDArray[np.floating], labels: NDArray[np.integer], photos: NDArray[np.integer]
) -> NearestNeighbour:
    """References from rows [n, size] with labels [n], which are views of photographs [n].

    A reference is the mean of a photograph and its views: what light and backdrop change
    averages out. Classes with more than `REFERENCES_MAX` photographs are covered by that many.
    """
    chosen: list[NDArray[np.float64]] = []
    numbers: list[NDArray[np.intp]] = []
    for label in np.unique(labels):
        own, means = _means(embedding[labels == label], photos[labels == label])
        directions = _directions(space.white(means))  # whitening is linear: of the mean, the mean of the whitened
        kept = _covering(directions, REFERENCES_MAX)
        chosen.append(directions[kept])
        numbers.append(own[kept])
    return NearestNeighbour(space, np.concatenate(chosen), np.concatenate(numbers))


def _means(
    embedding: NDArray[np.floating], photos: NDArray[np.integer]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """rows [n, size] and their photographs [n] -> the photographs, rising [m], and the mean of each [m, size]."""
    order = np.argsort(photos, kind="stable")
    own, first, counts = np.unique(photos[order], return_index=True, return_counts=True)
    sums = np.add.reduceat(embedding[order], first, axis=0, dtype=np.float64)
    return np.asarray(own, np.intp), sums / counts[:, None]


def _directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), LENGTH_MIN))


def _covering(directions: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Rows that leave no row far from all of them: each next one is the farthest (Gonzalez 1985)."""
    if len(directions) <= count:
        return np.arange(len(directions))
    kept = [int((directions @ directions.mean(axis=0)).argmax())]
    nearest = directions @ directions[kept[0]]
    while len(kept) < count:
        kept.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, directions @ directions[kept[-1]])
    return np.sort(np.array(kept, np.intp))
