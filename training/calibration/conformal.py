"""Prediction sets with a promised coverage (split conformal prediction)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-9  # of photographs; ten tenths of one are one


def set_probability_min(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    coverage: float,
    groups: NDArray[np.integer] | None = None,
) -> float:
    """The least probability with which a class belongs to the set.

    probabilities [n, classes] of photographs, each by a model that was not fitted on it, labels [n].
    With the score 1 - p(true class), the limit is 1 minus the ceil((n + 1) coverage)-th
    smallest score (Angelopoulos and Bates 2023, section 1); 0, every class, where n photographs
    are too few for the coverage.

    groups: of each photograph; those of one count once altogether, each by an equal part, and what is promised is the
    coverage of a photograph of another group (Lee, Barber and Willett 2023). None: each is its own.
    """
    own = probabilities[np.arange(len(labels)), labels]
    _, number, sizes = np.unique(
        np.arange(len(labels)) if groups is None else groups, return_inverse=True, return_counts=True
    )
    order = np.argsort(-own, kind="stable")
    counted = np.cumsum((1.0 / sizes[number])[order])
    place = int(np.searchsorted(counted, (len(sizes) + 1) * coverage - _ROUNDING))
    return float(own[order[place]]) if place < len(own) else 0.0
