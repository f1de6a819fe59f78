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
    rng = np.random.default_rng(seed)
    members = [[np.flatnonzero(labels == stratum) for stratum in np.unique(labels)] for labels in strata]
    value = measure(*(np.arange(len(labels)) for labels in strata))
    drawn = np.empty(resamples)
    for number in range(resamples):
        drawn[number] = measure(
            *(np.concatenate([rng.choice(rows, len(rows)) for rows in groups]) for groups in members)
        )
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    # A figure at the end of its range can lie outside the percentiles of a skewed resampling.
    return Interval(float(value), float(min(low, value)), float(max(high, value)))
