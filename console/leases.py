"""Leases in the database: what is held until a time by the wall clock, because several machines ask.

A clock that is set back makes one that was taken before last for as long as it was ahead. None can end later
than it may last from now on, so one that does is over.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q


def over(field: str, *, longest: timedelta, at: datetime) -> Q:
    """Those whose time is over. longest: for which any is taken.

    Twice that long may be left: the clocks of two machines need not be the same.
    """
    return Q(**{f"{field}__lte": at}) | Q(**{f"{field}__gt": at + 2 * longest})
