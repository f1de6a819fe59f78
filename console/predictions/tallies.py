"""Counts of predictions by hour and by day: what plots read, so that their cost does not grow with the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.utils.timezone import localtime

from console.predictions.models import Span, Tally

_ROWS_PER_STATEMENT: Final = 100
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
    counted: Counter[tuple[str, datetime, str, str, int, int]] = Counter()
    for item in made:
        confidence_bin = min(Tally.BINS - 1, int(item.confidence * Tally.BINS))
        for span in Span:
            key = (span.value, begin_of(span, item.happened_at), item.model, item.version, item.verdict, confidence_bin)
            counted[key] += 1
    # In one order everywhere, so that two batches never wait for each other in a circle.
    rows = sorted(counted.items())
    table, names = Tally._meta.db_table, ", ".join(_KEY)
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            values: list[Any] = [part for (span, at, *rest), count in some for part in (span, adapt(at), *rest, count)]
            cursor.execute(
                f"INSERT INTO {table} ({names}, count) VALUES "  # noqa: S608 - names of ours and placeholders
                + ", ".join(["(%s, %s, %s, %s, %s, %s, %s)"] * len(some))
                + f" ON CONFLICT ({names}) DO UPDATE SET count = {table}.count + excluded.count",
                values,
            )


def begin_of(span: Span, moment: datetime) -> datetime:
    """When the hour, or the day in the console's time zone, began that a moment lies in."""
    local = localtime(moment).replace(minute=0, second=0, microsecond=0)
    return local if span is Span.HOUR else local.replace(hour=0)
