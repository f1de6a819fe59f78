"""What the page of expected accuracy shows, as plain values for its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from console.drift.course import Course, course_of_shares
from console.drift.expectations import DAYS, Expected, expected_since, window_begins
from console.review.agreement import Share


@dataclass(frozen=True, slots=True)
class Line:
    """One estimate: what it is made of, and where it and its interval lie on a scale from 0 to 100."""

    text: str
    value: float
    low: float | None  # None: without an interval
    width: float | None

    @property
    def high(self) -> float | None:
        return None if self.low is None or self.width is None else round(self.low + self.width, 1)


@dataclass(frozen=True, slots=True)
class Version:
    """A version with its estimates, the one to go by first."""

    expected: Expected
    lines: Sequence[Line]
    course: Course | None


def versions(at: datetime) -> list[Version]:
    """The versions of the last DAYS. Four queries."""
    begins_at = window_begins(at)
    first = localtime(begins_at)
    spans = [first + timedelta(days=count) for count in range(DAYS)]
    return [
        Version(found, _lines(found), course_of_shares(found.days, spans=spans)) for found in expected_since(begins_at)
    ]


def _lines(found: Expected) -> list[Line]:
    lines = []
    if found.corrected is not None:
        lines.append(_line(_("From confidence, corrected by what experts said"), found.corrected))
    if found.from_reviews is not None:
        lines.append(_line(_("From what experts said alone"), found.from_reviews))
    if found.from_confidence is not None:
        text = _("From confidence alone, without any label")
        lines.append(Line(text, round(100 * found.from_confidence, 1), None, None))
    return lines


def _line(text: str, share: Share) -> Line:
    low, high = round(100 * share.low, 1), round(100 * share.high, 1)
    return Line(text, round(100 * share.value, 1), low, round(high - low, 1))
