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
    return _weighted(labels, _shares(embedding, labels, classes=int(labels.max()) + 1))


def loss_aware(
    losses: NDArray[np.floating], labels: NDArray[np.integer], drawn: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Weights [m] of photographs with the labels `drawn` [m]; a class whose losses elsewhere vary more is drawn more.

    losses [n] with labels [n]: of photographs that are not learnt from. Shares are bounded as by `variance_aware`;
    a class with fewer than two losses gets the share of the middle.
    """
    classes = 1 + max(int(labels.max()), int(drawn.max()))
    return _weighted(drawn, _shares(np.asarray(losses)[:, None], labels, classes=classes))


def _weighted(labels: NDArray[np.integer], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = balanced(labels) * shares[labels]
    return np.asarray(weights / weights.sum())


def _shares(rows: NDArray[np.floating], labels: NDArray[np.integer], *, classes: int) -> NDArray[np.float64]:
    """[classes]: each class's spread by that of the class in the middle, bounded; 1 where nothing is known."""
    spreads = np.full(classes, np.nan)
    for label in np.unique(labels):
        own = np.asarray(rows[labels == label], np.float64)
        if len(own) > 1:
            spreads[label] = ((own - own.mean(axis=0)) ** 2).sum() / (len(own) - 1)
    known = spreads[~np.isnan(spreads)]
    middle = float(np.median(known)) if len(known) else 0.0
    if not middle > 0.0:
        return np.ones(classes)
    return np.asarray(np.clip(np.nan_to_num(spreads / middle, nan=1.0), _LESS_MAX, _MORE_MAX))
