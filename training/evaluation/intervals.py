"""How far a figure could be off by the luck of which photographs were measured on (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 1000
LEVEL: Final = 0.95

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its bootstrap interval (percentile method, 95 %)."""

    value: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out: of a difference, whether it is more than luck."""
        return self.low > 0.0 or self.high < 0.0

    def pair(self) -> list[float]:
        return [self.low, self.high]


def bootstrap(
    measure: Callable[..., float], strata: Sequence[NDArray[np.integer]], *, seed: int, resamples: int = RESAMPLES
) -> Interval:
    """Measure once on all photographs, then on resamples of each set of them.

    measure: given one index array a set (rows of that set).  strata: for each set, the stratum of
    every photograph; resampling is within strata, so that each keeps its number (Davison and
    Hinkley 1997, section 3.2).
    """
    return bootstrap_all(lambda *rows: np.array([measure(*rows)]), strata, seed=seed, resamples=resamples)[0]


def bootstrap_all(
    measure: Callable[..., NDArray[np.floating]],
    strata: Sequence[NDArray[np.integer]],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> tuple[Interval, ...]:
    """As `bootstrap`, for several figures [k] that are measured on the same resamples.

    A figure may be nan on a resample that it cannot be told of: the others make its interval.
    """
    rng = np.random.default_rng(seed)
    members = [[np.flatnonzero(labels == stratum) for stratum in np.unique(labels)] for labels in strata]
    value = np.asarray(measure(*(np.arange(len(labels)) for labels in strata)), np.float64)
    drawn = np.empty((resamples, len(value)))
    for number in range(resamples):
        drawn[number] = measure(
            *(np.concatenate([rows[rng.integers(0, len(rows), len(rows))] for rows in groups]) for groups in members)
        )
    return tuple(_interval(float(one), column) for one, column in zip(value, drawn.T, strict=True))


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    told = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(told):
        return Interval(value, value, value)
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(told, [tail, 1.0 - tail])
    # A figure at the end of its range can lie outside the percentiles of a skewed resampling.
    return Interval(value, float(min(low, value)), float(max(high, value)))
