"""Celery's clock on one that nobody sets: what is done every ten seconds is done so whatever the wall clock does.

Celery's own compares the wall clock with the time at which it sent a task last. Set back by a day it sends nothing for
a day: no erasure goes on, no guardrail looks, no version is verified.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from celery.beat import PersistentScheduler, ScheduleEntry

_BEGAN_AT: Final = datetime.now(UTC), time.monotonic()


def steady_now() -> datetime:
    """The time by the wall clock as it stood when this process began, and how long that is ago; aware, in UTC."""
    began_at, began_s = _BEGAN_AT
    return began_at + timedelta(seconds=time.monotonic() - began_s)


class Entry(ScheduleEntry):
    """A task and how often it is sent, by `steady_now`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.schedule.nowfun = steady_now


class Scheduler(PersistentScheduler):
    """What was sent when is kept over restarts, as by Celery's own."""

    Entry = Entry

    def setup_schedule(self) -> None:
        super().setup_schedule()
        now = steady_now()
        for entry in self.schedule.values():
            if entry.last_run_at > now:  # the clock was set back since an earlier process wrote that
                entry.last_run_at = now
