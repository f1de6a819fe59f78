"""Prediction sets with a promised coverage (split conformal prediction)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def set_probability_min(probabilities: NDArray[np.floating], labels: NDArray[np.integer], *, coverage: float) -> float:
    """The least probability with which a class belongs to the set.

    probabilities [n, classes] of photographs, each by a model that was not fitted on it, labels [n].
    With the score 1 - p(true class), the limit is 1 minus the ceil((n + 1) coverage)-th
    smallest score (Angelopoulos and Bates 2023, section 1); 0, every class, where n photographs
    are too few for the coverage.
    """
    scores = np.sort(1.0 - probabilities[np.arange(len(labels)), labels])
    rank = math.ceil((len(scores) + 1) * coverage)
    return 0.0 if rank > len(scores) else float(max(0.0, 1.0 - scores[rank - 1]))
