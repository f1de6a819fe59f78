"""By when the law wants an answer: pure functions on dates, in the time of the people concerned.

    GDPR  article 12(3)      one month from receipt, three with an extension that is told within the first
    PDPA  sections 30-36     30 days, for erasure 90 (copies and backups among them)

A month ends with the day of the same number, and with the month's last day where there is
none: received on 31 January, due on 28 or 29 February. Weekends and holidays, which may
lengthen the European limit, are left out: whoever keeps the earlier day keeps both.
A request counts from the day on which it came in, as the clock in Bangkok shows it.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

BANGKOK: Final = ZoneInfo("Asia/Bangkok")
BUDDHIST_YEARS: Final = 543
GDPR_MONTHS: Final = 1
GDPR_MONTHS_EXTENDED: Final = 3
PDPA_DAYS: Final = 30
PDPA_ERASURE_DAYS: Final = 90
SOON_DAYS: Final = 10
URGENT_DAYS: Final = 3


class Law(StrEnum):
    GDPR = "gdpr"
    PDPA = "pdpa"


class Escalation(StrEnum):
    """How near the limit is."""

    NONE = "none"
    SOON = "soon"
    URGENT = "urgent"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Limits:
    """The last day for an answer under each law, and under those that bind this request."""

    by_law: Mapping[Law, date]
    binding: date

    @property
    def ends_at(self) -> datetime:
        """The first instant that is too late: midnight in Bangkok after the binding day."""
        return datetime.combine(self.binding + timedelta(days=1), time(), BANGKOK)

    def days_left(self, today: date) -> int:
        """0 on the last day, negative after it."""
        return (self.binding - today).days


def day_of(moment: datetime) -> date:
    """The day in Bangkok of an instant."""
    return moment.astimezone(BANGKOK).date()


def days_until(ends_at: datetime, at: datetime) -> int:
    """Days left before the first instant that is too late: 0 on the last day, negative after it."""
    return (day_of(ends_at) - day_of(at)).days - 1


def limits(*, received_on: date, erasure: bool, laws: frozenset[Law], extended: bool = False) -> Limits:
    """Both clocks of a request. `laws`, at least one, says which of them bind it."""
    months = GDPR_MONTHS_EXTENDED if extended else GDPR_MONTHS
    by_law = {
        Law.GDPR: months_after(received_on, months),
        Law.PDPA: received_on + timedelta(days=PDPA_ERASURE_DAYS if erasure else PDPA_DAYS),
    }
    return Limits(MappingProxyType(by_law), min(by_law[law] for law in laws))


def months_after(day: date, months: int) -> date:
    """The day of the same number so many months on, or the last of that month where it has none."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def escalation(days_left: int) -> Escalation:
    if days_left < 0:
        return Escalation.OVERDUE
    if days_left <= URGENT_DAYS:
        return Escalation.URGENT
    return Escalation.SOON if days_left <= SOON_DAYS else Escalation.NONE


def date_text(day: date, language: str) -> str:
    """A legal date without doubt: the month in letters; in Thai with the year of the Buddhist era."""
    if language.startswith("th"):
        return f"{day.day} {_THAI_MONTHS[day.month - 1]} พ.ศ. {day.year + BUDDHIST_YEARS}"
    return f"{day.day} {_ENGLISH_MONTHS[day.month - 1]} {day.year}"


_THAI_MONTHS: Final = (
    "มกราคม", "กุมภาพันธ์", "มีนาคม", "เมษายน", "พฤษภาคม", "มิถุนายน",
    "กรกฎาคม", "สิงหาคม", "กันยายน", "ตุลาคม", "พฤศจิกายน", "ธันวาคม",
)  # fmt: skip
_ENGLISH_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
