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
from console.drift import figures
from console.drift.figures import Middle
from console.drift.queries import Day
from console.review.agreement import Share
from model_store.reference import Reference

DAYS: Final = 30
_EVERY: Final = 7  # days from one label to the next


@dataclass(frozen=True, slots=True)
class Course:
    """A ribbon of days. The plot's height is 100, from the top; before: its band's top, its height and its line."""

    ribbon: plots.Ribbon
    ticks: tuple[str, str, str]  # from the top
    before: tuple[float, float, float] | None


def course_of_number(measure: str, days: Sequence[Day], *, before: Reference | None, at: datetime) -> Course | None:
    """Median and the middle 80% of each of the last DAYS; None where no day knows the measure."""
    found = figures.days_of(measure, None, days)
    texts = {
        day.begins_at: _("{when}: half at or below {middle}, 80% from {low} to {high}, {n} predictions").format(
            when=_when(day.begins_at),
            middle=f"{day.of.middle:.3g}",
            low=f"{day.of.low:.3g}",
            high=f"{day.of.high:.3g}",
            n=f"{day.n:,}",
        )
        for day in found
    }
    beside = figures.before_of(measure, None, before)
    return _course({day.begins_at: day.of for day in found}, beside, texts, _days_to(at), form="{:.3g}")


def course_of_choice(
    measure: str, choice: str, days: Sequence[Day], *, before: Reference | None, at: datetime
) -> Course | None:
    """The share of one choice on each of the last DAYS with its 95% interval; None where no day knows the measure."""
    found = figures.days_of(measure, choice, days)
    texts = {
        day.begins_at: _("{when}: {share} of {n} predictions").format(
            when=_when(day.begins_at), share=f"{day.of.middle:.1%}", n=f"{day.n:,}"
        )
        for day in found
    }
    beside = figures.before_of(measure, choice, before)
    values = {day.begins_at: day.of for day in found}
    return _course(values, beside, texts, _days_to(at), form="{:.1%}", low_max=0.0)


def course_of_shares(shares: Mapping[datetime, Share], *, spans: Sequence[datetime]) -> Course | None:
    """A share with its interval on each of some days; None where none of them has one."""
    values = {day: Middle(share.low, share.value, share.high) for day, share in shares.items()}
    texts = {
        day: _("{when}: {share}, 95% interval {low} to {high}").format(
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
    values: Mapping[datetime, Middle],
    before: Middle | None,
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
    low, high = min(low_max, *(each.low for each in drawn)), max(each.high for each in drawn)
    if high <= low:
        low, high = low - 0.5, high + 0.5

    half = high / 2 - low / 2 or 1.0  # halves: the largest number less its opposite overflows

    def place(value: float) -> float:
        return (value / 2 - low / 2) / half

    ribbon = plots.ribbon(
        [
            (place(each.low), place(each.middle), place(each.high)) if (each := values.get(day)) else None
            for day in spans
        ],
        texts=[texts.get(day, "") for day in spans],
        labels=[date_format(day, "j M") for day in spans[: len(spans) - _EVERY // 2 : _EVERY]],
        label_width=round(100 * _EVERY / len(spans), 2),
    )
    ticks = (form.format(high), form.format(low / 2 + high / 2), form.format(low))
    if before is None:
        return Course(ribbon, ticks, None)
    top, line, bottom = (round(100 * (1 - place(edge)), 2) for edge in (before.high, before.middle, before.low))
    return Course(ribbon, ticks, (top, round(bottom - top, 2), line))


def _when(day: datetime) -> str:
    return date_format(day.astimezone(UTC), "l j F")
