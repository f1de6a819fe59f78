"""Several views of one object into one answer.

The probabilities are fused as the weighted mean of their logarithms, normalised: views are
pieces of evidence about one object, so that a class which one view rules out is ruled out,
and the result stays calibrated when the views repeat each other (a sum would count the
same evidence twice; Hinton 2002 calls the product "of experts", the mean its geometric
form). Detector scores are fused with the same shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# float32 softmax gives exact zeros; the logarithm must not.
_PROBABILITY_MIN: Final = 1e-9
# Two views speak of different objects when each is sure of its own class and all but
# excludes the other's.
_SURE_MIN: Final = 0.6
_EXCLUDED_MAX: Final = 0.05


@dataclass(frozen=True, slots=True)
class ViewOutput:
    """What the graph says about one view."""

    probabilities: NDArray[np.float64]  # [classes], sum to 1
    scores: Mapping[str, float]  # detector -> higher is further out


@dataclass(frozen=True, slots=True)
class Fused:
    probabilities: NDArray[np.float64]  # [classes], sum to 1
    scores: Mapping[str, float]
    shares: tuple[float, ...]  # one per view, sum to 1
    views_disagree: bool


def fuse(views: Sequence[ViewOutput], weights: Sequence[float]) -> Fused:
    """weights: one per view, above 0, need not sum to 1. Raises ValueError without views."""
    if not views:
        raise ValueError("an answer needs at least one view")
    shares = np.asarray(weights, dtype=np.float64) / sum(weights)
    stacked = np.stack([view.probabilities for view in views])
    if len(views) == 1:
        fused = stacked[0]
    else:
        log_mean = shares @ np.log(stacked.clip(_PROBABILITY_MIN))
        unnormalised = np.exp(log_mean - log_mean.max())
        fused = unnormalised / unnormalised.sum()
    scores = {
        name: float(sum(share * view.scores[name] for share, view in zip(shares, views, strict=True)))
        for name in views[0].scores
    }
    return Fused(fused, scores, tuple(float(share) for share in shares), _disagree(stacked))


def _disagree(stacked: NDArray[np.float64]) -> bool:
    if len(stacked) == 1:
        return False
    best = stacked.argmax(axis=1)
    sure = stacked[np.arange(len(stacked)), best] >= _SURE_MIN
    excluded = stacked[:, best] <= _EXCLUDED_MAX  # [i, j]: view i all but excludes view j's class
    return bool((excluded & excluded.T & sure[:, np.newaxis] & sure[np.newaxis, :]).any())
