"""Distance to the nearest class, in the units of how photographs of one class differ (Lee et al. 2018, eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from training.fitting.head_only import WithinClass

NAME = "mahalanobis"


@dataclass(frozen=True, slots=True)
class Mahalanobis:
    """min over classes of sqrt((x - mean_c)' precision (x - mean_c)), with precision = whitener whitener'."""

    means: NDArray[np.float64]  # [classes, size]
    whitener: NDArray[np.float64]  # [size, size], upper triangular

    @property
    def origin(self) -> NDArray[np.float64]:
        """The mean of the class means, [size]."""
        return np.asarray(self.means.mean(axis=0))

    def white(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n, size]: from the origin, every direction in units of the spread within classes."""
        return np.asarray((np.asarray(embedding, np.float64) - self.origin) @ self.whitener)

    def score(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n], at least 0; higher is further out."""
        rows, centres = self.white(embedding), self.white(self.means)
        squared = [((rows - centre) ** 2).sum(axis=1) for centre in centres]
        return np.asarray(np.sqrt(np.min(squared, axis=0)))


def fit(statistics: WithinClass) -> Mahalanobis:
    """From the class means and the one covariance around them."""
    # covariance = U'U with U upper triangular, so precision = inv(U) inv(U)'.
    upper = scipy.linalg.cholesky(statistics.covariance, lower=False)
    whitener = scipy.linalg.solve_triangular(upper, np.eye(len(upper)), lower=False)
    return Mahalanobis(statistics.means, whitener)
