"""Other ways to make probabilities of scores, to compare the temperature with (`amulet calibrators`).

Each has more to fit than one number, and so needs more photographs. None of them is served.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.isotonic import IsotonicRegression

from training.calibration.temperature import Scored

# A class that no photograph of the calibration part is called by would be ruled out for ever.
_PROBABILITY_MIN = 1e-3
_PROBABILITY_OF_ALL_MIN = 0.01  # what they are given together: of 300 classes a thousandth each would be a quarter
Calibrator = Callable[[NDArray[np.floating]], NDArray[np.float64]]  # logits [n, classes] -> probabilities


@dataclass(frozen=True, slots=True)
class VectorScaling:
    """softmax(scale * logits + shift), a number of each for every class (Guo et al. 2017, section 4.2)."""

    scale: NDArray[np.float64]  # [classes]
    shift: NDArray[np.float64]  # [classes]

    def __call__(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(softmax(np.asarray(logits, np.float64) * self.scale + self.shift, axis=1))


def vector_scaling(scored: Scored) -> VectorScaling:
    """By maximum likelihood, from the scores as they are."""
    rows, classes = scored.logits, scored.logits.shape[1]
    truth = np.eye(classes)[scored.labels]
    weights = scored.weights[:, None] / scored.weights.sum()

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, shift = np.split(values, 2)
        logarithms = log_softmax(rows * scale + shift, axis=1)
        slope = (np.exp(logarithms) - truth) * weights
        gradient = np.concatenate([(slope * rows).sum(axis=0), slope.sum(axis=0)])
        return float(-(truth * logarithms * weights).sum()), gradient

    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    # Where every photograph is answered rightly the likelihood has no maximum: bounded, as the temperature is.
    bounds = [(1e-2, 100.0)] * classes + [(-20.0, 20.0)] * classes
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return VectorScaling(*np.split(found.x, 2))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A rising step function for each class, then scaled to sum to 1 (Zadrozny and Elkan 2002, section 4)."""

    steps: tuple[IsotonicRegression, ...]

    def __call__(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        shares = softmax(np.asarray(logits, np.float64), axis=1)
        table = np.stack([step.predict(column) for step, column in zip(self.steps, shares.T, strict=True)], axis=1)
        table = np.maximum(table, min(_PROBABILITY_MIN, _PROBABILITY_OF_ALL_MIN / table.shape[1]))
        return np.asarray(table / table.sum(axis=1, keepdims=True))


def isotonic(scored: Scored) -> Isotonic:
    """One against the others, by least squares."""
    shares = softmax(scored.logits, axis=1)
    return Isotonic(
        tuple(
            IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(
                column, (scored.labels == label).astype(float), sample_weight=scored.weights
            )
            for label, column in enumerate(shares.T)
        )
    )
