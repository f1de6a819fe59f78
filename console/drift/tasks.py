"""What drift does by the clock. Every task may run twice and may be lost: what waits stands in the database."""

from __future__ import annotations

import logging

from celery import shared_task
from django.utils.timezone import now

from console.drift import services

_log = logging.getLogger(__name__)


@shared_task(name="console.drift.tasks.fold")
def fold() -> None:
    """Fold fresh measurements into the sketches."""
    services.fold()


@shared_task(name="console.drift.tasks.watch")
def watch() -> None:
    """Fold, compare, alert, and drop what is too old."""
    services.fold()
    services.tidy(at=now())
    if alerts := services.watch(at=now()):
        _log.warning("drift", extra={"alerts": alerts})
