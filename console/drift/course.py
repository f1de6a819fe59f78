"""A measure day by day beside what it is compared with, as plain shapes for `drift/course.html`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from console import plots
from console.drift.queries import Day
from console.review.agreement import Share, wilson
from model_store.reference import Reference, Sketch

DAYS: Final = 30
_EVERY: Final = 7  # days from one label to the next
_RANKS: Final = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Course:
    """A ribbon of days. The plot's height is 100, from the top; before: its band's top, its height and its line."""

    ribbon: plots.Ribbon
    ticks: tuple[str, str, str]  # from the top
    before: tuple[float, float, float] | None


def course_of_number(measure: str, days: Sequence[Day], *, before: Reference | None, at: datetime) -> Course | None:
    """Median and the middle 80 % of each of the last DAYS; None where no day knows the measure."""
    values = {
        day.begins_at: (sketch.count, *_quantiles(sketch))
        for day in days
        if (sketch := day.reference.samples.get(measure)) is not None and sketch.count
    }
    known = before.samples.get(measure) if before is not None else None
    beside = _quantiles(known) if known is not None else None
    texts = {
        begins_at: _("{when}: half at or below {middle}, 80 % from {low} to {high}, {n} predictions").format(
            when=_when(begins_at), middle=f"{middle:.3g}", low=f"{low:.3g}", high=f"{high:.3g}", n=f"{n:,}"
        )
        for begins_at, (n, low, middle, high) in values.items()
    }
    drawn = {key: (low, middle, high) for key, (_n, low, middle, high) in values.items()}
    return _course(drawn, beside, texts, _days_to(at), form="{:.3g}")


def course_of_choice(
    measure: str, choice: str, days: Sequence[Day], *, before: Reference | None, at: datetime
) -> Course | None:
    """The share of one choice on each of the last DAYS with its 95 % interval; None where no day knows the measure."""
    counts = {day.begins_at: table for day in days if sum((table := day.reference.counts.get(measure, {})).values())}
    shares = {key: wilson(table.get(choice, 0), sum(table.values())) for key, table in counts.items()}
    known = before.counts.get(measure, {}) if before is not None else {}
    one = wilson(known.get(choice, 0), sum(known.values()))
    texts = {
        begins_at: _("{when}: {share} of {n} predictions").format(
            when=_when(begins_at), share=f"{share.value:.1%}", n=f"{share.n:,}"
        )
        for begins_at, share in shares.items()
    }
    values = {key: (share.low, share.value, share.high) for key, share in shares.items()}
    before_share = (one.low, one.value, one.high) if one.n else None
    return _course(values, before_share, texts, _days_to(at), form="{:.1%}", low_max=0.0)


def course_of_shares(shares: Mapping[datetime, Share], *, spans: Sequence[datetime]) -> Course | None:
    """A share with its interval on each of some days; None where none of them has one."""
    values = {day: (share.low, share.value, share.high) for day, share in shares.items()}
    texts = {
        day: _("{when}: {share}, 95 % interval {low} to {high}").format(
            when=date_format(localtime(day), "l j F"),
            share=f"{share.value:.1%}",
            low=f"{share.low:.1%}",
            high=f"{share.high:.1%}",
        )
        for day, share in shares.items()
    }
    return _course(values, None, texts, spans, form="{:.1%}")


def _days_to(at: datetime) -> list[datetime]:
    today = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [today - timedelta(days=back) for back in reversed(range(DAYS))]


def _course(
    values: Mapping[datetime, tuple[float, float, float]],
    before: tuple[float, float, float] | None,
    texts: Mapping[datetime, str],
    spans: Sequence[datetime],
    *,
    form: str,
    low_max: float = math.inf,
) -> Course | None:
    """form: of the numbers at the axis.  low_max: the axis begins there at the latest."""
    if not values:
        return None
    drawn = list(values.values()) + ([before] if before is not None else [])
    low, high = min(low_max, *(each[0] for each in drawn)), max(each[2] for each in drawn)
    if high <= low:
        low, high = low - 0.5, high + 0.5

    def place(value: float) -> float:
        return (value - low) / (high - low)

    ribbon = plots.ribbon(
        [(place(each[0]), place(each[1]), place(each[2])) if (each := values.get(day)) else None for day in spans],
        texts=[texts.get(day, "") for day in spans],
        labels=[date_format(day, "j M") for day in spans[: len(spans) - _EVERY // 2 : _EVERY]],
        label_width=round(100 * _EVERY / len(spans), 2),
    )
    ticks = (form.format(high), form.format((low + high) / 2), form.format(low))
    if before is None:
        return Course(ribbon, ticks, None)
    top, line, bottom = (round(100 * (1 - place(before[index])), 2) for index in (2, 1, 0))
    return Course(ribbon, ticks, (top, round(bottom - top, 2), line))


def _quantiles(sketch: Sketch) -> tuple[float, float, float]:
    low, middle, high = sketch.quantiles(_RANKS)
    return low, middle, high


def _when(day: datetime) -> str:
    return date_format(day.astimezone(UTC), "l j F")
