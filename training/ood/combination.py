"""What two detectors say together: is it unlike every photograph, and unlike every class?

The nearest neighbour sees the direction of an embedding, the relative distance its length. Each is put on the
scale of held-out photographs, and the two are added: a photograph that both find a little strange
is stranger than one that only one of them does. Where the largest of two scores decides instead, each
one's accidents count (decision 0100).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.ood.nearest_neighbour import NearestNeighbour
from training.ood.relative_mahalanobis import RelativeMahalanobis

NAME = "combination"
_SPREAD_MIN = 1e-6  # scores that are all the same have no scale


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a detector's scores of held-out photographs lie."""

    median: float
    deviation: float  # standard deviation, above 0

    def __call__(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((scores - self.median) / self.deviation)


@dataclass(frozen=True, slots=True)
class Combination:
    """The sum of the two scores in standard deviations of held-out photographs, each from its median."""

    nearest: NearestNeighbour
    relative: RelativeMahalanobis
    nearest_scale: Scale
    relative_scale: Scale

    def score(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n], around 0 for known photographs; higher is further out."""
        near, relative = self.nearest.score(embedding), self.relative.score(embedding)
        return np.asarray(self.nearest_scale(near) + self.relative_scale(relative))


def fit(nearest: NearestNeighbour, relative: RelativeMahalanobis, held_out: NDArray[np.floating]) -> Combination:
    """held_out: embeddings [n, size] of known photographs, and views of them, that neither was fitted on."""
    return Combination(nearest, relative, _scale_of(nearest.score(held_out)), _scale_of(relative.score(held_out)))


def _scale_of(scores: NDArray[np.float64]) -> Scale:
    return Scale(float(np.median(scores)), max(float(scores.std()), _SPREAD_MIN))
