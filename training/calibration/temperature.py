"""One temperature for all scores (Guo et al. 2017, section 4.2), safe on few photographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

TEMPERATURE_MIN = 0.01
TEMPERATURE_MAX = 100.0  # the card's limit


def fit_temperature(
    logits: NDArray[np.floating], labels: NDArray[np.integer], *, weights: NDArray[np.floating] | None = None
) -> float:
    """The temperature with the least cross-entropy against softened labels.

    logits [n, classes], labels [n], weights [n] (how much each row counts; by default 1).
    The labels are softened as Platt (1999, section 2.2) does: the true class weighs
    (n + 1) / (n + 2) and the others share the rest. Where every photograph is classified rightly
    the plain optimum is certainty, which n photographs cannot justify; with many the softening
    vanishes.
    Raises ValueError where logits are not finite scores or there are none.
    """
    scores = np.asarray(logits, np.float64)
    if scores.ndim != 2 or not len(scores) or len(scores) != len(labels) or not np.isfinite(scores).all():
        raise ValueError("logits must be finite, one row for each label")
    if np.allclose(scores.sum(axis=1), 1.0) and (scores >= 0.0).all():
        raise ValueError("these are probabilities; a temperature divides logits")
    count = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    classes = scores.shape[1]
    softness = 1.0 / (count.sum() + 2.0)
    targets = np.full(scores.shape, softness / (classes - 1))
    targets[np.arange(len(scores)), labels] = 1.0 - softness

    def cross_entropy(log_temperature: float) -> float:
        rows = -(targets * log_softmax(scores / np.exp(log_temperature), axis=1)).sum(axis=1)
        return float((rows * count).sum() / count.sum())

    found = minimize_scalar(
        cross_entropy, bounds=(np.log(TEMPERATURE_MIN), np.log(TEMPERATURE_MAX)), method="bounded",
        options={"xatol": 1e-6},
    )  # fmt: skip
    return float(np.exp(found.x))


def probabilities_of(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """softmax(logits / temperature), rows [n, classes]."""
    return np.asarray(np.exp(log_softmax(np.asarray(logits, np.float64) / temperature, axis=1)))
