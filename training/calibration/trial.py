"""Whether a temperature helps where it was not fitted; if not, it is not served.

No photographs are set aside for this: with a dozen to calibrate on, a second part would judge by
a handful. The temperature is cross-fitted instead. Each fold of the photographs is scored with the
temperature of the others, so that every photograph judges one that it had no say in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from training.calibration.temperature import Scored, fit_temperature
from training.statistics.metrics import ECE_BINS

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Foldable:
    """Scored rows, and the group of near-duplicates that each belongs to: a group stays in one fold."""

    scored: Scored
    groups: NDArray[np.intp]  # [n]


@dataclass(frozen=True, slots=True)
class Trial:
    """The temperature to serve, and what was measured with and without it on rows that it was not fitted on."""

    temperature: float  # 1 where the fitted one was refused
    nll: tuple[float, float]  # as the scores are, and with a temperature; nats
    ece: tuple[float, float]
    refused: str = ""  # why 1 is served; empty where the fitted temperature is


def tried_temperature(calibration: Foldable, training: Foldable | None = None) -> Trial:
    """`fit_temperature`, kept only where cross-fitted temperatures worsen neither NLL nor ECE against T = 1.

    calibration and training as there. Raises ValueError where all rows are of one group: nothing
    is then left to judge by.
    """
    parts = [part for part in (calibration, training) if part is not None]
    folds = [np.searchsorted(np.unique(part.groups), part.groups) % FOLDS for part in parts]
    logits, scaled, labels, weights = [], [], [], []
    for number in range(FOLDS):
        rest = [_where(part.scored, fold != number) for part, fold in zip(parts, folds, strict=True)]
        away = [_where(part.scored, fold == number) for part, fold in zip(parts, folds, strict=True)]
        fitted_on = [part for part in rest if part is not None]
        if not fitted_on:
            continue
        temperature = fit_temperature(*fitted_on)
        for part in away:
            if part is not None:
                logits.append(part.logits)
                scaled.append(part.logits / temperature)
                labels.append(part.labels)
                weights.append(part.weights)
    if not logits:
        raise ValueError("a temperature needs photographs of two groups: one to fit it and another to judge it")
    truth, weight = np.concatenate(labels), np.concatenate(weights)
    before, after = (_figures(np.concatenate(rows), truth, weight) for rows in (logits, scaled))
    nll, ece = (before[0], after[0]), (before[1], after[1])
    worse = [
        f"{name} from {with_out:.3f} to {with_it:.3f}"
        for name, (with_out, with_it) in (("NLL", nll), ("ECE", ece))
        if with_it > with_out
    ]
    fitted = fit_temperature(*(part.scored for part in parts))
    if not worse:
        return Trial(fitted, nll, ece)
    why = (
        f"the fitted temperature {fitted:.3f} is refused: on photographs that it was not fitted on it worsens "
        f"{' and '.join(worse)}; the scores stay as they are (temperature 1)"
    )
    return Trial(1.0, nll, ece, why)


def _where(scored: Scored, rows: NDArray[np.bool_]) -> Scored | None:
    return Scored(scored.logits[rows], scored.labels[rows], scored.weights[rows]) if rows.any() else None


def _figures(
    logits: NDArray[np.float64], labels: NDArray[np.intp], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """NLL and ECE of softmax(logits), each row counting by its weight."""
    logarithms = log_softmax(logits, axis=1)
    nll = -np.average(logarithms[np.arange(len(labels)), labels], weights=weights)
    confidence = np.exp(logarithms.max(axis=1))
    right = logits.argmax(axis=1) == labels
    bin_of = np.ceil(confidence * ECE_BINS).astype(int).clip(1, ECE_BINS) - 1
    gaps = np.bincount(bin_of, weights=(right - confidence) * weights, minlength=ECE_BINS)
    return float(nll), float(np.abs(gaps).sum() / weights.sum())
