"""What is drawn of a finding, as numbers: two distributions side by side, and a measure day by day.

Plots draw these and the REST interface tells them, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from console.drift.queries import Day
from console.review.agreement import wilson
from model_store.reference import Reference, Sketch

CHOICES_MAX: Final = 12
_POINTS: Final = 64
_RANKS: Final = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Curves:
    """The share of values at or below each value, 0 to 1, of both."""

    values: tuple[float, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ChoiceShare:
    """How often one choice was made, 0 to 1, of both."""

    choice: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Middle:
    """Of a number its tenth, its half and its nine tenths; of a choice its share within the 95 % interval."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class OfDay:
    """The same of one day (UTC), and how many predictions it is of."""

    begins_at: datetime
    n: int
    of: Middle


def curves(before: Sketch, now: Sketch) -> Curves:
    """At even steps. Values beyond the middle 99 % of both are left out. Raises ValueError when one is empty."""
    low = min(each.quantiles([0.005])[0] for each in (before, now))
    high = max(each.quantiles([0.995])[0] for each in (before, now))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    # Weighed, not stepped: a score beyond all bounds is kept as the largest number, and the way to it overflows.
    values = tuple(low * (1 - step / _POINTS) + high * (step / _POINTS) for step in range(_POINTS + 1))
    return Curves(values, before.ranks(values), now.ranks(values))


def choice_shares(before: Mapping[str, int], now: Mapping[str, int]) -> list[ChoiceShare]:
    """The most frequent choices of both, at most CHOICES_MAX, the most frequent first."""
    n_before, n_now = sum(before.values()) or 1, sum(now.values()) or 1
    shares = [ChoiceShare(key, before.get(key, 0) / n_before, now.get(key, 0) / n_now) for key in {*before, *now}]
    return sorted(shares, key=lambda each: (-max(each.before, each.now), each.choice))[:CHOICES_MAX]


def curves_of(measure: str, before: Reference, now: Reference) -> Curves | None:
    """Of a number that both sides know; None for every other measure."""
    if measure not in before.samples or measure not in now.samples:
        return None
    return curves(before.samples[measure], now.samples[measure])


def choices_of(measure: str, before: Reference, now: Reference) -> list[ChoiceShare]:
    """Of choices that both sides know; empty for every other measure."""
    if measure not in before.counts or measure not in now.counts:
        return []
    return choice_shares(before.counts[measure], now.counts[measure])


def days_of(measure: str, choice: str | None, days: Sequence[Day]) -> list[OfDay]:
    """Those that know the measure, in order. choice: whose share it is; None: the measure is a number."""
    if choice is None:
        sketches = [(day.begins_at, day.reference.samples.get(measure)) for day in days]
        return [OfDay(day, sketch.count, _quantiles(sketch)) for day, sketch in sketches if sketch and sketch.count]
    tables = [(day.begins_at, day.reference.counts.get(measure, {})) for day in days]
    return [OfDay(day, n, _share(choice, table)) for day, table in tables if (n := sum(table.values()))]


def before_of(measure: str, choice: str | None, before: Reference | None) -> Middle | None:
    """What these days are held against; None where it is not known."""
    if before is None:
        return None
    if choice is None:
        return _quantiles(before.samples[measure]) if measure in before.samples else None
    table = before.counts.get(measure, {})
    return _share(choice, table) if sum(table.values()) else None


def _quantiles(sketch: Sketch) -> Middle:
    return Middle(*sketch.quantiles(_RANKS))


def _share(choice: str, table: Mapping[str, int]) -> Middle:
    share = wilson(table.get(choice, 0), sum(table.values()))
    return Middle(share.low, share.value, share.high)
