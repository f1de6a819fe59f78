"""Which of several findings are more than luck: of twenty that are nothing, one passes a test at 5 %.

All that a page shows in one table are one family, and at most one family in twenty names anything by luck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from scipy.stats import norm

from training.statistics.intervals import LEVEL, Interval

ALPHA: Final = 1.0 - LEVEL
_Z: Final = float(norm.ppf((1.0 + LEVEL) / 2.0))
_Key = TypeVar("_Key")


def holm(p_values: Mapping[_Key, float]) -> dict[_Key, float]:
    """Adjusted so that the chance of one false finding among all stays at the level (Holm 1979)."""
    adjusted: dict[_Key, float] = {}
    largest = 0.0
    for rank, (key, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p_value * (len(p_values) - rank)))
        adjusted[key] = largest
    return adjusted


def p_value(difference: Interval) -> float:
    """How often luck alone shows as much as this difference, or more; below ALPHA where its interval leaves 0 out.

    By the normal distribution that has the end of the interval that is nearer to 0 where the interval has it: of a
    thousand resamples none is so rare as what Holm asks for among dozens. 1 where nothing was found.
    """
    value = difference.value
    if math.isnan(value) or value == 0.0:
        return 1.0
    reach = value - difference.low if value > 0.0 else difference.high - value
    return 2.0 * float(norm.sf(_Z * abs(value) / reach)) if reach > 0.0 else 0.0


def corrected(differences: Mapping[_Key, Interval]) -> dict[_Key, float]:
    """The p-value of each, among all of them (`holm`)."""
    return holm({key: p_value(each) for key, each in differences.items()})


def told(difference: Interval, p_value: float) -> dict[str, Any]:
    """As JSON can carry it.  p_value: of `corrected`."""
    return {
        "value": difference.value,
        "interval": difference.pair(),
        "p_value": p_value,
        "more_than_luck": p_value < ALPHA,
    }


def words(number: int) -> str:
    """By which correction, for a report on so many differences."""
    return f"Holm (1979), of {number} difference{'s' if number != 1 else ''} at 5% together"
