"""What the vault does by the clock."""

from __future__ import annotations

import logging

from celery import shared_task

from console.vault import services

_log = logging.getLogger(__name__)


@shared_task(name="console.vault.tasks.tidy")
def tidy() -> None:
    """Delete what is kept under consents that ran out, and what crashes left behind. May run twice."""
    expired, swept = services.discard_expired(), services.sweep()
    if expired or swept:
        _log.info("tidied", extra={"expired": expired, "swept": swept})
