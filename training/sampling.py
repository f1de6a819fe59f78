"""How often each photograph is drawn while a network learns, and which classes have few."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# A class is drawn at most so many times as often as its evenly weighted share, and at least so rarely: the spread of
# a dozen photographs is itself uncertain by a quarter.
_MORE_MAX: Final = 2.0
_LESS_MAX: Final = 0.5


def balanced(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """labels [n] -> weights [n] that sum to 1; every class the same altogether."""
    counts = np.bincount(labels)
    weights = 1.0 / counts[labels]
    return np.asarray(weights / weights.sum())


def minorities(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """labels [n] -> [n]: whether the photograph's class has fewer photographs than the class in the middle."""
    counts = np.bincount(labels)
    return np.asarray(counts[labels] < np.median(counts[counts > 0]))


def variance_aware(embedding: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """embedding [n, size], labels [n] -> weights [n] that sum to 1; a class that varies more is drawn more.

    A class's share is in proportion to the mean squared distance of its rows from their mean (with n - 1),
    within half and twice that of the class in the middle. A class of one photograph has no spread: it gets the
    share of the middle.
    """
    classes = np.unique(labels)
    spreads = np.full(int(labels.max()) + 1, np.nan)
    for label in classes:
        rows = np.asarray(embedding[labels == label], np.float64)
        if len(rows) > 1:
            spreads[label] = ((rows - rows.mean(axis=0)) ** 2).sum() / (len(rows) - 1)
    known = spreads[classes][~np.isnan(spreads[classes])]
    middle = float(np.median(known)) if len(known) else 0.0
    if not middle > 0.0:
        return balanced(labels)
    shares = np.clip(np.nan_to_num(spreads / middle, nan=1.0), _LESS_MAX, _MORE_MAX)
    weights = balanced(labels) * shares[labels]
    return np.asarray(weights / weights.sum())
