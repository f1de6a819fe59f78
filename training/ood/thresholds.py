"""Where a detector's score changes what is claimed.

A border is a one-sided prediction bound of the normal distribution through the scores of
held-out photographs of the known classes: the value that a new photograph passes with a
stated probability, honest about how few were looked at. Where
photographs of other things are given, the border to "out" moves, within limits, to where it
separates the two best.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from protos.verdict import DetectorLimits
from training.listing import counted

# Given photographs of other things may move the border this far: they are only some of all other things.
_OUT_RATIO_RANGE: Final = (0.0005, 0.05)
_FEW: Final = 10
_SPREAD_MIN: Final = 1e-6  # equal scores still need borders that rise


def limits_of(
    name: str,
    known: NDArray[np.floating],
    outside: NDArray[np.floating],
    *,
    independent: int,
    unsure_ratio: float,
    out_ratio: float,
    shares: NDArray[np.floating] | None = None,
) -> DetectorLimits:
    """Limits from scores on data set aside for this.

    known: scores [n] of photographs of the known classes that the detector was not fitted on,
    views of one photograph among them; independent: how many photographs they are of, copies and views of one object
    counted once: as many as ten of one tablet say of the next tablet what one does.
    shares: what each score counts for [n], where some objects have more photographs than others: without, the border
    is that of the one which has most. None: all alike.
    outside: scores [m] of photographs of other things; may be empty.
    unsure_ratio, out_ratio: shares of known photographs that may lie beyond the two borders.
    Raises ValueError without a known score, or with one that is not finite.
    """
    if not len(known) or not np.isfinite(known).all():
        raise ValueError(f"{name} needs finite scores of held-out photographs")
    scores = np.asarray(known, np.float64)
    typical = float(np.median(scores))
    counted = np.ones(len(scores)) if shares is None else np.asarray(shares, np.float64)

    def bound(ratio: float) -> float:
        return _prediction_bound(scores, shares, independent, ratio)

    out_at = bound(out_ratio)
    if len(outside):
        lowest, highest = (bound(ratio) for ratio in reversed(_OUT_RATIO_RANGE))
        out_at = min(max(_best_border(scores, np.asarray(outside, np.float64), counted), lowest), highest)
    out_at = max(out_at, math.nextafter(typical, math.inf))
    unsure_at = min(max(bound(unsure_ratio), math.nextafter(typical, math.inf)), out_at)
    return DetectorLimits(name=name, typical=typical, unsure_at=unsure_at, out_at=out_at)


def few(photos: int | None) -> str:
    """A sentence on borders that stand on so many photographs; empty where they are enough, or nobody says.

    Of fewer than ten the spread of one score, and with it a border, may be off by half and more.
    """
    if photos is None or photos >= _FEW:
        return ""
    return (
        f"{counted(photos, 'photograph')} alone {'places' if photos == 1 else 'place'} borders only roughly: of others "
        f"many more, or hardly any, may be called unsure or out of distribution."
    )


def _prediction_bound(
    values: NDArray[np.float64], shares: NDArray[np.floating] | None, independent: int, ratio: float
) -> float:
    """Above it lies one new value of the same normal distribution with the given probability.

    mean + t * s * sqrt(1 + 1/n) (Hahn and Meeker 1991, section 4.7).
    """
    if shares is None:
        mean, spread = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    else:
        mean = float(np.average(values, weights=shares))
        spread = math.sqrt(np.average((values - mean) ** 2, weights=shares) * len(values) / max(len(values) - 1, 1))
    count = max(independent, 2)
    factor = float(stats.t.ppf(1.0 - ratio, df=count - 1)) * math.sqrt(1.0 + 1.0 / count)
    return mean + factor * max(spread, _SPREAD_MIN)


def _best_border(known: NDArray[np.floating], outside: NDArray[np.floating], counted: NDArray[np.float64]) -> float:
    """The border with the fewest mistakes, both kinds weighing the same; in the middle of the best gap."""
    values = np.sort(np.concatenate([known, outside]))
    borders = (values[:-1] + values[1:]) / 2.0
    order = np.argsort(known, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(counted[order])])
    rejected = below[-1] - below[np.searchsorted(known[order], borders)]
    missed = np.searchsorted(np.sort(outside), borders)
    mistakes = rejected / below[-1] + missed / len(outside)
    best = np.flatnonzero(mistakes <= mistakes.min() + 1e-12)
    return float(borders[best[len(best) // 2]])
