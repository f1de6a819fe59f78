"""One temperature for all scores (Guo et al. 2017, section 4.2), safe on few photographs.

A dozen calibration photographs leave the temperature uncertain by a factor of two and more.
So it is fitted against a prior: log T is normal around the temperature that suits the
training photographs when each is answered by a head that did not see it. With many
calibration photographs the prior no longer matters. Decision 0011 has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax

TEMPERATURE_MIN: Final = 0.01
TEMPERATURE_MAX: Final = 100.0  # the card's limit
# Of log T: how far the temperature of a head with a third fewer photographs may be off.
PRIOR_SPREAD: Final = 0.15
# A head's logits spread by 1, and temperatures of 0.1 to 1 are then ordinary: where every photograph is
# answered rightly the likelihood alone has no maximum.
ORDINARY_LOG: Final = math.log(0.3)
ORDINARY_SPREAD: Final = 1.0


@dataclass(frozen=True, slots=True)
class Belief:
    """A normal distribution of log T."""

    log: float
    spread: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Uncalibrated scores of rows that their head did not see."""

    logits: NDArray[np.float64]  # [n, classes]
    labels: NDArray[np.intp]  # [n]
    weights: NDArray[np.float64]  # [n]: how many photographs each row stands for

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or not len(self.logits) or not np.isfinite(self.logits).all():
            raise ValueError("logits must be finite, one row for each label, and at least one")
        if not len(self.logits) == len(self.labels) == len(self.weights):
            raise ValueError("each row of logits needs a label and a weight")
        if np.allclose(self.logits.sum(axis=1), 1.0) and (self.logits >= 0.0).all():
            raise ValueError("these are probabilities; a temperature divides logits")


def fit_temperature(calibration: Scored, training: Scored | None = None) -> float:
    """The most probable temperature.

    calibration: photographs that nothing else was fitted on.  training: the training photographs,
    each scored by a head fitted without it; they make the prior.

    However sure the fit, the mean confidence on all of them stays at or below (right + 1) / (n + 2),
    Laplace's rule of succession: n photographs that are all answered rightly justify no more.
    """
    ordinary = Belief(ORDINARY_LOG, ORDINARY_SPREAD)
    if training is None:
        return max(float(np.exp(_most_probable(calibration, ordinary))), _justified(calibration))
    prior = Belief(_most_probable(training, ordinary), PRIOR_SPREAD)
    return max(float(np.exp(_most_probable(calibration, prior))), _justified(calibration, training))


def _justified(*parts: Scored) -> float:
    """The lowest temperature whose mean confidence Laplace's rule allows."""
    photos = sum(float(part.weights.sum()) for part in parts)
    right = sum(float(part.weights[part.logits.argmax(axis=1) == part.labels].sum()) for part in parts)
    allowed = (right + 1.0) / (photos + 2.0)

    def excess(log_temperature: float) -> float:
        sure = sum(
            float((probabilities_of(part.logits, np.exp(log_temperature)).max(axis=1) * part.weights).sum())
            for part in parts
        )
        return sure / photos - allowed

    low, high = np.log(TEMPERATURE_MIN), np.log(TEMPERATURE_MAX)
    if excess(low) <= 0.0:
        return TEMPERATURE_MIN
    return float(np.exp(brentq(excess, low, high, xtol=1e-6))) if excess(high) < 0.0 else TEMPERATURE_MAX


def _most_probable(scored: Scored, prior: Belief) -> float:
    """The logarithm of the temperature with the highest posterior density."""
    photos = float(scored.weights.sum())

    def loss(log_temperature: float) -> float:
        surprise = photos * _cross_entropy(scored, log_temperature)
        return surprise + ((log_temperature - prior.log) / prior.spread) ** 2 / 2.0

    bounds = (np.log(TEMPERATURE_MIN), np.log(TEMPERATURE_MAX))
    return float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)


def _cross_entropy(scored: Scored, log_temperature: float) -> float:
    """Mean over photographs, in nats."""
    logarithms = log_softmax(scored.logits / np.exp(log_temperature), axis=1)
    rows = -logarithms[np.arange(len(logarithms)), scored.labels]
    return float((rows * scored.weights).sum() / scored.weights.sum())


def said(temperature: float) -> str:
    """What it does, in one sentence."""
    if temperature == 1.0:
        does = "leaves the probabilities as the head gives them"
    elif temperature > 1.0:
        does = "makes the probabilities more alike, and the answer less sure"
    else:
        does = "moves the probabilities apart, and makes the answer surer"
    return (
        f"Scores are divided by the temperature {temperature:.3f} before they become probabilities, which {does} "
        "(above 1 means less sure, below 1 surer); which class is the best stays the same."
    )


def probabilities_of(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """softmax(logits / temperature), rows [n, classes]."""
    return np.asarray(np.exp(log_softmax(np.asarray(logits, np.float64) / temperature, axis=1)))
