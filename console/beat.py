"""Celery's clock on one that nobody sets: what is done every ten seconds is done so whatever the wall clock does.

Celery's own compares the wall clock with the time at which it sent a task last. Set back by a day it sends nothing for
a day: no erasure goes on, no guardrail looks, no version is verified.
"""

from __future__ import annotations

from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from console.steady import steady_now


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
