"""Distance to the nearest class, in the units of how photographs of one class differ (Lee et al. 2018, eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from training.fitting.head_only import within_class

NAME = "mahalanobis"


@dataclass(frozen=True, slots=True)
class Mahalanobis:
    """min over classes of sqrt((x - mean_c)' precision (x - mean_c)), with precision = whitener whitener'."""

    means: NDArray[np.float64]  # [classes, size]
    whitener: NDArray[np.float64]  # [size, size], upper triangular

    def score(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n], at least 0; higher is further out."""
        rows = np.asarray(embedding, np.float64) @ self.whitener
        centres = self.means @ self.whitener
        return np.asarray(np.sqrt(((rows[:, None, :] - centres) ** 2).sum(axis=2)).min(axis=1))


def fit(embedding: NDArray[np.floating], labels: NDArray[np.integer], *, classes: int, shrinkage: float) -> Mahalanobis:
    """Fit class means and the one covariance around them; see `within_class` for the shrinkage and errors."""
    statistics = within_class(embedding, labels, classes=classes, shrinkage=shrinkage)
    # covariance = U'U with U upper triangular, so precision = inv(U) inv(U)'.
    upper = scipy.linalg.cholesky(statistics.covariance, lower=False)
    whitener = scipy.linalg.solve_triangular(upper, np.eye(len(upper)), lower=False)
    return Mahalanobis(statistics.means, whitener)
