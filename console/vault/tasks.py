"""What the vault does by the clock."""

from __future__ import annotations

import logging

from celery import shared_task

from console.vault import services

_log = logging.getLogger(__name__)


@shared_task(name="console.vault.tasks.tidy")
def tidy() -> None:
    """Delete what is kept under consents that ran out, what crashes left behind, and old memories of erasures.

    May run twice.
    """
    expired, swept, forgotten = services.discard_expired(), services.sweep(), services.forget_erased()
    if expired or swept or forgotten:
        _log.info("tidied", extra={"expired": expired, "swept": swept, "forgotten": forgotten})
