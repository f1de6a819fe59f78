"""Figures of classification, calibration and OOD detection: pure functions on arrays.

Probabilities are float [n, classes] with rows that sum to 1, labels int [n] in
0..classes-1. OOD scores rise the further out a photograph is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating]
Labels = NDArray[np.integer]

ECE_BINS: Final = 15
_SUM_TOLERANCE: Final = 1e-3  # rows of float32 probabilities
_PROBABILITY_MIN: Final = 1e-12  # a certain mistake costs 27.6 nats, not infinitely many


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Photographs whose confidence lies in (low, high]."""

    low: float
    high: float
    photos: int
    confidence: float  # mean; 0 where there are none
    accuracy: float


def check_rows(probabilities: Rows, labels: Labels) -> None:
    """Raises ValueError where these are not probabilities with one label each, or there are none."""
    if probabilities.ndim != 2 or len(probabilities) != len(labels) or not len(labels):
        raise ValueError(f"need one row of probabilities for each of at least one label, not {probabilities.shape}")
    if not np.isfinite(probabilities).all() or (probabilities < 0.0).any():
        raise ValueError("probabilities are finite and at least 0")
    if np.abs(probabilities.sum(axis=1) - 1.0).max() > _SUM_TOLERANCE:
        raise ValueError("each row of probabilities sums to 1")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError("a label has no column of probabilities")


def confusion_matrix(labels: Labels, predicted: Labels, *, classes: int) -> NDArray[np.int64]:
    """counts[true, predicted], int64 [classes, classes]."""
    flat = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def accuracy(labels: Labels, predicted: Labels) -> float:
    return float((labels == predicted).mean())


def balanced_accuracy(labels: Labels, predicted: Labels) -> float:
    """Mean recall over the classes that have photographs."""
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))


def f1_per_class(labels: Labels, predicted: Labels) -> dict[int, float]:
    """2 TP / (2 TP + FP + FN) for each class that has a photograph or was answered; sorted by class."""
    scores = {}
    for label in np.union1d(labels, predicted):
        hits = int(((labels == label) & (predicted == label)).sum())
        scores[int(label)] = 2.0 * hits / int((labels == label).sum() + (predicted == label).sum())
    return scores


def macro_f1(labels: Labels, predicted: Labels) -> float:
    """Mean of `f1_per_class`."""
    return float(np.mean(list(f1_per_class(labels, predicted).values())))


def expected_calibration_error(probabilities: Rows, labels: Labels, *, bins: int = ECE_BINS) -> float:
    """Gap between confidence and accuracy, averaged over rows (Guo et al. 2017, equation 3).

    Bins are (0, 1/bins], ..., the last included. Raises ValueError on bad rows or n = 0.
    """
    table = reliability(probabilities, labels, bins=bins)
    gaps = sum(row.photos * abs(row.accuracy - row.confidence) for row in table)
    return gaps / len(labels)


def reliability(probabilities: Rows, labels: Labels, *, bins: int = ECE_BINS) -> tuple[ReliabilityBin, ...]:
    """The table behind `expected_calibration_error`, from low confidence to high."""
    check_rows(probabilities, labels)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.ceil(confidence * bins).astype(int).clip(1, bins) - 1
    table = []
    for number in range(bins):
        inside = bin_of == number
        filled = bool(inside.any())
        table.append(
            ReliabilityBin(
                low=number / bins,
                high=(number + 1) / bins,
                photos=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if filled else 0.0,
                accuracy=float(correct[inside].mean()) if filled else 0.0,
            )
        )
    return tuple(table)


def brier(probabilities: Rows, labels: Labels) -> float:
    """Mean squared distance to certainty in the truth, summed over classes: 0 to 2 (Brier 1950)."""
    check_rows(probabilities, labels)
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probabilities: Rows, labels: Labels) -> float:
    """Mean of -log p(true class), in nats."""
    check_rows(probabilities, labels)
    true = np.asarray(probabilities, np.float64)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, _PROBABILITY_MIN)).mean())


def auroc(known: Rows, outside: Rows) -> float:
    """Chance that a photograph of another thing scores above one of a known class; ties count half.

    known [n], outside [m]: OOD scores, both not empty (Hanley and McNeil 1982).
    """
    if not len(known) or not len(outside):
        raise ValueError("AUROC compares two sets that both have photographs")
    ordered = np.sort(known)
    below = np.searchsorted(ordered, outside, side="left")
    not_above = np.searchsorted(ordered, outside, side="right")
    return float((below + not_above).mean() / 2.0 / len(known))


def fpr_at_95_tpr(known: Rows, outside: Rows) -> float:
    """Share of other things taken for known where 95 % of the known photographs are accepted.

    Accepted: a score at or below the least border that accepts at least 95 % of `known`.
    """
    if not len(known) or not len(outside):
        raise ValueError("the rate compares two sets that both have photographs")
    border = np.sort(known)[int(np.ceil(0.95 * len(known))) - 1]
    return float((outside <= border).mean())
