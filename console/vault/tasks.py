"""What the vault does by the clock."""

from __future__ import annotations

import logging
import time
from typing import Final

from celery import shared_task

from console.vault import rotation, services
from console.vault.ownership import StoreIsAnothers

_log = logging.getLogger(__name__)
# As often as this comes by the clock. 128 turns of it are less than a day, so that a console which stands still for a
# part of every day looks at other files from one day to the next.
_TURN_S: Final = 600
_REWRAP_S_MAX: Final = 60  # then other tasks have their turn; the next beat goes on


@shared_task(name="console.vault.tasks.tidy")
def tidy() -> None:
    """Delete what crashes left behind, a part of it each time: all of it within a day. May run twice.

    What has its time behind it is `console.retention`'s.
    """
    try:
        swept = services.sweep(turn=int(time.time() // _TURN_S))
    except StoreIsAnothers:
        _log.error(
            "AMULET_STORAGE_URL names the photographs of another console, which has another vault.key: nothing there "
            "is tidied, for what this one does not know may be what that one keeps"
        )
        return
    if swept:
        _log.info("tidied", extra={"swept": swept})


@shared_task(name="console.vault.tasks.rotate")
def rotate() -> None:
    """Go on with a rotation of the master key, and tell the audit log of keys that came or went. May run twice."""
    until_s = time.monotonic() + _REWRAP_S_MAX
    rotation.note_keys()
    if people := rotation.rewrap(enough=lambda: time.monotonic() > until_s):
        _log.info("wrapped anew", extra={"people": people})
