"""Two people at one thing: the second reaches for it when the first has written and not yet committed."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, Final

from django.db import connection, transaction

from console.errors import Refusal

LOOK_S: Final = 0.01


def outcome_of_second(first: Callable[[], Any], second: Callable[[], Any]) -> str:
    """The class of what `second` was refused with, else "done".

    `first` commits when `second`, on a connection of its own, waits for it or has ended without. SQLite, where one
    writes at a time, shows nobody who waits: there it commits when `second` begins.
    """
    begun = Event()

    def other() -> str:
        begun.set()
        try:
            second()
        except Refusal as refusal:
            return type(refusal).__name__
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            first()
            told = thread.submit(other)
            begun.wait()
            while connection.vendor == "postgresql" and not told.done() and not somebody_waits():
                time.sleep(LOOK_S)
        return told.result()


def somebody_waits() -> bool:
    """Whether another connection waits for this one's transaction to end."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])
