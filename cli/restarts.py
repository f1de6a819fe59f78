"""A bound on supervisord's wait between two starts of a program that fails.

By itself supervisord waits a second longer after each failure, without end: a program that
could not start for an hour, because a disk was full or a port taken, came back a minute and a
half after the cause was gone. supervisord loads this through its own door for extensions:

    [rpcinterface:restarts]
    supervisor.rpcinterface_factory = cli.restarts:bounded
    wait_s_max = 5
"""

from __future__ import annotations

import time
from typing import Any

from supervisor import events


class Restarts:
    """What supervisord keeps of this extension: nothing that could be called from outside."""


def bounded(_supervisord: Any, *, wait_s_max: str) -> Restarts:
    """Called once by supervisord. wait_s_max: seconds, as the configuration has them."""
    limit_s = int(wait_s_max)

    def shorten(event: Any) -> None:
        process = event.process
        process.backoff = min(process.backoff, limit_s)
        process.delay = min(process.delay, time.time() + limit_s)

    events.subscribe(events.ProcessStateBackoffEvent, shorten)
    return Restarts()
