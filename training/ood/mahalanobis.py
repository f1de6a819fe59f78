"""Distance to the nearest class, in the units of how photographs of one class differ (Lee et al. 2018, eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.blocks import in_blocks
from training.ood import spread
from training.ood.spread import Spread
from training.statistics.covariance import WithinClass

NAME = "mahalanobis"


@dataclass(frozen=True, slots=True)
class Mahalanobis:
    """min over classes of sqrt((x - mean_c)' precision (x - mean_c))."""

    means: NDArray[np.float64]  # [classes, size]
    spread: Spread

    @property
    def origin(self) -> NDArray[np.float64]:
        """The mean of the class means, [size]."""
        return np.asarray(self.means.mean(axis=0))

    def white(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n, size]: from the origin, every direction in units of the spread within classes."""
        return self.spread.white(np.asarray(embedding, np.float64) - self.origin)

    def squared(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n], at least 0."""
        centres = self.white(self.means)
        lengths = np.einsum("cd,cd->c", centres, centres)

        def nearest(own: NDArray[np.floating]) -> NDArray[np.float64]:
            rows = self.white(own)
            # Which centre, by one product of matrices: one after the other, 300 took eight times as long. How far it is
            # comes from the difference: next to a centre that is what is left of much larger numbers.
            closest = (lengths - 2.0 * (rows @ centres.T)).argmin(axis=1)
            return np.asarray(((rows - centres[closest]) ** 2).sum(axis=1))

        return in_blocks(nearest, embedding)

    def score(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n], at least 0; higher is further out."""
        return np.asarray(np.sqrt(self.squared(embedding)))


def fit(statistics: WithinClass) -> Mahalanobis:
    """From the class means and the one covariance around them."""
    return Mahalanobis(statistics.means, spread.of_covariance(statistics.covariance))
