"""What the home page draws: predictions, verdicts and confidence over time, from tallies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils.formats import date_format
from django.utils.timezone import localtime, now
from django.utils.translation import gettext as _

from console import plots
from console.predictions.models import Span, Tally, Verdict
from console.predictions.queries import Counted, counted_since
from console.predictions.tallies import begin_of
from console.review.services import CONFIDENCE_MIN

HOURS: Final = 48
DAYS: Final = 30
_WEEK: Final = 7
_KINDS: Final = {Verdict.IN_DOMAIN: "in-domain", Verdict.UNSURE: "unsure", Verdict.OUT_OF_DISTRIBUTION: "out"}


@dataclass(frozen=True, slots=True)
class Traffic:
    """The plots with their totals."""

    hours: plots.Bars
    days: plots.Bars
    confidence: plots.Ribbon
    calls_by_version: Mapping[str, int]  # of the last 24 hours
    today: int
    whole: int  # of all DAYS
    legend: Sequence[tuple[str, str, int]]  # kind, name, how many in DAYS


@dataclass(frozen=True, slots=True)
class OfVersion:
    """What a version answered in the span that begins then."""

    begins_at: datetime
    version: str
    verdicts: Mapping[Verdict, int]
    low: float  # of the confidence, 0 to 1: below it a tenth of the answers lie, to a bin of the tallies
    middle: float
    high: float


def spans(moment: datetime) -> Mapping[Span, Sequence[datetime]]:
    """When each of the last HOURS and DAYS begins, oldest first."""
    return {
        Span.HOUR: [begin_of(Span.HOUR, moment - timedelta(hours=back)) for back in reversed(range(HOURS))],
        Span.DAY: [begin_of(Span.DAY, moment - timedelta(days=back)) for back in reversed(range(DAYS))],
    }


def by_version() -> Mapping[Span, Sequence[OfVersion]]:
    """The same as numbers, of spans in which there was anything, in order of time and name. One query."""
    since = {span: begins[0] for span, begins in spans(now()).items()}
    found: dict[Span, list[OfVersion]] = {}
    for span, rows in counted_since(since).items():
        groups: dict[tuple[datetime, str], list[Counted]] = {}
        for row in rows:
            groups.setdefault((row.begins_at, row.version), []).append(row)
        found[span] = [_of_version(*key, groups[key]) for key in sorted(groups)]
    return found


def _of_version(begins_at: datetime, version: str, rows: Sequence[Counted]) -> OfVersion:
    verdicts, bins = dict.fromkeys(Verdict, 0), [0] * Tally.BINS
    for row in rows:
        verdicts[Verdict(row.verdict)] += row.count
        bins[row.confidence_bin] += row.count
    low, middle, high = (plots.quantile(bins, ratio) for ratio in (0.1, 0.5, 0.9))
    return OfVersion(begins_at, version, verdicts, low, middle, high)


def traffic() -> Traffic:
    """One query over at most HOURS and DAYS, whatever lies before."""
    moment = now()
    hours, days = spans(moment).values()
    counted = counted_since({Span.HOUR: hours[0], Span.DAY: days[0]})
    by_hour, by_day = counted[Span.HOUR], counted[Span.DAY]
    day_before = moment - timedelta(hours=24)
    calls: dict[str, int] = {}
    for row in by_hour:
        if row.begins_at >= day_before:
            calls[row.version] = calls.get(row.version, 0) + row.count
    totals = _verdicts(by_day)
    return Traffic(
        hours=_bars(hours, by_hour, form="H:i", name="j M, H:i", every=12),
        days=_bars(days, by_day, form="j M", name="l j F", every=_WEEK),
        confidence=_confidence(days, by_day),
        calls_by_version=calls,
        today=sum(row.count for row in by_day if row.begins_at == days[-1]),
        whole=sum(row.count for row in by_day),
        legend=[(_KINDS[verdict], str(verdict.label), totals[_KINDS[verdict]]) for verdict in Verdict],
    )


def _bars(spans: Sequence[datetime], rows: Sequence[Counted], *, form: str, name: str, every: int) -> plots.Bars:
    found: dict[datetime, list[Counted]] = {}
    for row in rows:
        found.setdefault(row.begins_at, []).append(row)
    counts = [_verdicts(found.get(span, ())) for span in spans]
    texts = [_told(date_format(localtime(span), name), count) for span, count in zip(spans, counts, strict=True)]
    return plots.stacked_bars(
        counts, texts=texts, labels=_labels(spans, form, every), label_width=round(100 * every / len(spans), 2)
    )


def _verdicts(rows: Sequence[Counted]) -> dict[str, int]:
    counts = dict.fromkeys(_KINDS.values(), 0)
    for row in rows:
        counts[_KINDS[Verdict(row.verdict)]] += row.count
    return counts


def _told(when: str, count: Mapping[str, int]) -> str:
    return _("{when}: {all} predictions, {unsure} unsure, {out} out of distribution").format(
        when=when, all=sum(count.values()), unsure=count["unsure"], out=count["out"]
    )


def _confidence(days: Sequence[datetime], rows: Sequence[Counted]) -> plots.Ribbon:
    bins = {day: [0] * Tally.BINS for day in days}
    for row in rows:
        if row.begins_at in bins:
            bins[row.begins_at][row.confidence_bin] += row.count
    values: list[tuple[float, float, float] | None] = []
    texts: list[str] = []
    for day in days:
        counts = bins[day]
        if not any(counts):
            values.append(None)
            texts.append("")
            continue
        low, middle, high = (plots.quantile(counts, ratio) for ratio in (0.1, 0.5, 0.9))
        values.append((low, middle, high))
        below = sum(counts[: round(CONFIDENCE_MIN * Tally.BINS)]) / sum(counts)
        texts.append(
            _("{when}: half above {middle}, {below} below {limit}").format(
                when=date_format(localtime(day), "l j F"),
                middle=f"{middle:.0%}",
                below=f"{below:.0%}",
                limit=f"{CONFIDENCE_MIN:.0%}",
            )
        )
    width = round(100 * _WEEK / len(days), 2)
    return plots.ribbon(values, texts=texts, labels=_labels(days, "j M", _WEEK), label_width=width)


def _labels(spans: Sequence[datetime], form: str, every: int) -> list[str]:
    """The first span's label, and then one each so many spans, where there is room for it."""
    whole = spans[: len(spans) - every // 2]
    return [date_format(localtime(span), form) for span in whole[::every]]
