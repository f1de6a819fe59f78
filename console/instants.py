"""Moments as somebody wrote them into an address, which is anything that a calendar can say."""

from __future__ import annotations

from datetime import UTC, datetime


def in_utc(moment: datetime) -> datetime:
    """The same moment as every database takes it: PostgreSQL knows no offset of sixteen hours, and we know some more.

    Raises ValueError for one that UTC has no day for, before the year 1 or after 9999.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such day") from None
