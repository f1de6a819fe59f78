"""What the vault does by the clock."""

from __future__ import annotations

import logging

from celery import shared_task

from console.vault import services

_log = logging.getLogger(__name__)


@shared_task(name="console.vault.tasks.tidy")
def tidy() -> None:
    """Delete what crashes left behind. May run twice. What has its time behind it is `console.retention`'s."""
    if swept := services.sweep():
        _log.info("tidied", extra={"swept": swept})
