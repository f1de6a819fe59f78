"""Several photographs of one piece name it more often than any one of them does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.fusion import ViewOutput, fuse

CLASSES = 5
PIECES = 4000
# How well each side tells the classes apart: the front best, the edge hardly.
SIDES = {"front": 1.6, "back": 1.2, "edge": 0.6}


def views(*, same: bool) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """What a calibrated model says of each side of each piece, [pieces, sides, classes], and what the pieces are.

    same: all sides are one photograph, sent again and again.
    """
    random = np.random.default_rng(20261128)
    truth = random.integers(CLASSES, size=PIECES)
    means = np.eye(CLASSES)
    told = []
    for apart in SIDES.values():
        seen = means[truth] * apart + random.normal(size=(PIECES, CLASSES))
        evidence = np.exp(apart * seen)  # Gaussians of one width: the posterior in closed form
        told.append(evidence / evidence.sum(axis=1, keepdims=True))
    if same:
        told = [told[0]] * len(told)
    return np.stack(told, axis=1), truth


def share_right(answers: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    return float((answers.argmax(axis=1) == truth).mean())


def fused(told: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([fuse([ViewOutput(row, {}) for row in piece], [1.0] * len(piece)).probabilities for piece in told])


def test_fused_beats_the_best_side_and_the_surest_photograph() -> None:
    told, truth = views(same=False)
    surest = told[np.arange(PIECES), told.max(axis=2).argmax(axis=1)]

    together = share_right(fused(told), truth)

    # Each share is off by at most 0.016 (two standard errors).
    assert together > max(share_right(told[:, side], truth) for side in range(len(SIDES))) + 0.05
    assert together > share_right(surest, truth) + 0.016


def test_the_same_photograph_again_gains_nothing() -> None:
    """The control: what is gained is gained from what the other sides show."""
    told, truth = views(same=True)

    assert share_right(fused(told), truth) == share_right(told[:, 0], truth)
