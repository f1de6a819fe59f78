"""Virtual-logit matching: what of a photograph lies outside the directions that the others fill (Wang et al. 2022).

Compared with the others by `amulet detectors`; not in the graph (decision 0012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from training.models.heads import LinearHead

NAME = "vim"


@dataclass(frozen=True, slots=True)
class Vim:
    """The length outside the principal directions as one more logit, held against the energy of the others."""

    origin: NDArray[np.float64]  # [size], where all scores are equal
    principal: NDArray[np.float64]  # [size, dimensions], orthonormal
    scale: float  # alpha of the paper
    head: LinearHead
    temperature: float

    def score(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """embedding [n, size] -> [n]; higher is further out: equation 6 before the softmax, which keeps the order."""
        logits = self.head.logits(embedding) / self.temperature
        return np.asarray(self.scale * self.residual(embedding) - logsumexp(logits, axis=1))

    def residual(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """[n, size] -> [n]: the length of what the principal directions leave over."""
        away = np.asarray(embedding, np.float64) - self.origin
        return np.asarray(np.linalg.norm(away - away @ self.principal @ self.principal.T, axis=1))


def fit(embedding: NDArray[np.floating], head: LinearHead, *, temperature: float, share: float = 0.9) -> Vim:
    """embedding [n, size].  share: of the variance that the principal directions hold."""
    rows = np.asarray(embedding, np.float64)
    weight, bias = head.weight.astype(np.float64), head.bias.astype(np.float64)
    origin = -np.linalg.pinv(weight) @ bias
    _, singular, directions = np.linalg.svd(rows - origin, full_matrices=False)
    filled = np.cumsum(singular**2) / (singular**2).sum()
    dimensions = int(np.searchsorted(filled, share)) + 1
    # At least one direction is left over, where there is one.
    principal = directions[: max(1, min(dimensions, len(directions) - 1))].T
    bare = Vim(origin, principal, 1.0, head, temperature)
    residual = float(bare.residual(rows).mean())
    largest = float((head.logits(rows) / temperature).max(axis=1).mean())
    return Vim(origin, principal, largest / residual if residual > 0.0 else 1.0, head, temperature)
