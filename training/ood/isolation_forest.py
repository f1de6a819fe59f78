"""How few random cuts isolate a photograph from the others (Liu, Ting and Zhou 2008)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

NAME = "isolation_forest"


def fit(embedding: NDArray[np.floating], *, trees: int, samples: int, seed: int) -> IsolationForest:
    """A forest on rows [n, size]; each tree grows on at most `samples` of them."""
    rows = np.asarray(embedding, np.float32)
    forest = IsolationForest(n_estimators=trees, max_samples=min(samples, len(rows)), random_state=seed)
    return forest.fit(rows)


def score(forest: IsolationForest, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
    """embedding [n, size] -> [n] in 0..1; higher is further out.

    2 ** (-average path length / expected path length): equation 2 of the paper.
    """
    return np.asarray(-forest.score_samples(np.asarray(embedding, np.float32)), np.float64)
