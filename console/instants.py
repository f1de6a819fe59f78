"""Moments as somebody wrote them, into an address or a form, which is anything that a calendar can say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

ERA_YEARS: Final = 543  # B.E. 2569 is A.D. 2026; since 1941 both years begin on 1 January
_YEAR_OF_THE_ERA: Final = re.compile(r"(?<!\d)2[4-9]\d\d(?!\d)")


def in_utc(moment: datetime) -> datetime:
    """The same moment as every database takes it: PostgreSQL knows no offset of sixteen hours, and we know some more.

    Raises ValueError for one that UTC has no day for, before the year 1 or after 9999.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such day") from None


def gregorian(text: str) -> str:
    """A day as somebody typed it, with the year that calendars here count: nobody means the 25th century A.D.

    >>> gregorian("31/12/2569"), gregorian("2026-12-31")
    ('31/12/2026', '2026-12-31')
    """
    return _YEAR_OF_THE_ERA.sub(lambda year: str(int(year[0]) - ERA_YEARS), text)
