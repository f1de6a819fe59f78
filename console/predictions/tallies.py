"""Counts of predictions by hour and by day: what plots read, so that their cost does not grow with the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from django.utils.timezone import get_current_timezone_name, localtime

from console.counters import add_counts
from console.predictions.models import Span, Tally

_KEY: Final = ("span", "begins_at", "model", "version", "verdict", "confidence_bin")


@dataclass(frozen=True, slots=True)
class Tallied:
    """What a tally needs to know of a prediction."""

    happened_at: datetime
    model: str
    version: str
    verdict: int
    confidence: float  # 0 to 1


def tally(made: Iterable[Tallied]) -> None:
    """Count new predictions by hour and by day, inside the caller's transaction.

    A batch writes few rows, however many predictions it brings.
    """
    kinds = Counter(
        (
            _quarter_of(item.happened_at),
            item.model,
            item.version,
            item.verdict,
            min(Tally.BINS - 1, int(item.confidence * Tally.BINS)),
        )
        for item in made
    )
    counted: Counter[tuple[str, datetime, str, str, int, int]] = Counter()
    zone = get_current_timezone_name()
    for (quarter, model, version, verdict, confidence_bin), count in kinds.items():
        for span in Span:
            counted[span.value, _begin_of(span, quarter, zone), model, version, verdict, confidence_bin] += count
    add_counts(Tally, _KEY, counted)


def begin_of(span: Span, moment: datetime) -> datetime:
    """When the hour, or the day in the console's time zone, began that a moment lies in."""
    return _begin_of(span, _quarter_of(moment), get_current_timezone_name())


def _quarter_of(moment: datetime) -> datetime:
    """Offsets between time zones are whole quarters of an hour, and many predictions fall into one."""
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


@lru_cache(maxsize=1024)
def _begin_of(span: Span, quarter: datetime, _zone: str) -> datetime:
    local = localtime(quarter).replace(minute=0)
    return local if span is Span.HOUR else local.replace(hour=0)
