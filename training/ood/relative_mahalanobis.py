"""How much nearer the nearest class is than the photographs altogether (Ren et al. 2021, eq. 3).

What makes every photograph of the collection unusual, light or a camera, is in both distances and
cancels. In the graph it speaks as a part of the combination only (decision 0100).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.ood import mahalanobis
from training.ood.mahalanobis import Mahalanobis
from training.statistics.covariance import within_class

NAME = "relative_mahalanobis"


@dataclass(frozen=True, slots=True)
class RelativeMahalanobis:
    """Squared distance to the nearest class less that to the mean of all."""

    classes: Mahalanobis
    everything: Mahalanobis

    def score(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n]; higher is further out."""
        return np.asarray(self.classes.squared(embedding) - self.everything.squared(embedding))


def fit(classes: Mahalanobis, embedding: NDArray[np.floating], *, shrinkage: float) -> RelativeMahalanobis:
    """classes: fitted on the same rows.  embedding [n, size]."""
    one = within_class(embedding, np.zeros(len(embedding), np.intp), classes=1, shrinkage=shrinkage)
    return RelativeMahalanobis(classes, mahalanobis.fit(one))
