"""How photographs differ where they are alike in kind: a covariance in few directions and a rest that is all the same.

A covariance of 1,584 numbers from a thousand photographs is known along its largest directions only; what
the others say is mostly chance. Probabilistic principal components (Tipping and Bishop 1999) keep
the largest and give every other direction their mean. The graph then holds a matrix of [size, kept]
where an exact inverse would be [size, size], ten megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.statistics.covariance import Covariance

# Decision 0100: more directions tell unseen classes no better, and the graph grows by 6 kB for each.
DIRECTIONS_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Spread:
    """The inverse root of a covariance: (I - narrowing narrowing') / sqrt(rest)."""

    narrowing: NDArray[np.float64]  # [size, kept]: directions, each of length sqrt(1 - sqrt(rest / its variance))
    rest: float  # variance along every direction that was not kept, above 0

    def white(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """rows [n, size] -> [n, size]: every direction in units of the spread along it."""
        own = np.asarray(rows, np.float64)
        return np.asarray((own - (own @ self.narrowing) @ self.narrowing.T) / np.sqrt(self.rest))


def of_covariance(covariance: Covariance, *, directions: int = DIRECTIONS_MAX) -> Spread:
    """The rest is the mean of the variances that are not kept (Tipping and Bishop 1999, eq. 8)."""
    found = covariance.largest(min(directions, covariance.size - 1))
    rest = float((covariance.trace - found.variances.sum()) / (covariance.size - len(found.variances)))
    lengths = np.sqrt(np.maximum(1.0 - np.sqrt(rest / found.variances), 0.0))
    return Spread(found.vectors * lengths, rest)
