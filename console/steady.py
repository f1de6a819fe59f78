"""What time it may be, for what must not be over early because somebody set the clock.

There are two: the wall clock, and the one that it was when this process began, carried on by the monotonic clock. They
say the same until the wall clock is set. Then one of them is wrong, and nobody knows which: what is deleted waits for
the earlier, and what is remembered counts from the later. A machine that slept has a monotonic clock that stood still
meanwhile: what is to be deleted waits for as long again.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

_BEGAN_AT: Final = datetime.now(UTC), time.monotonic()


def steady_now() -> datetime:
    """The time by the wall clock as it stood when this process began, and how long that is ago; aware, in UTC."""
    began_at, began_s = _BEGAN_AT
    return began_at + timedelta(seconds=time.monotonic() - began_s)


def earliest(at: datetime) -> datetime:
    """What time it is at least, where the wall clock says `at`."""
    return min(at, steady_now())


def latest(at: datetime) -> datetime:
    """What time it is at most, where the wall clock says `at`."""
    return max(at, steady_now())
