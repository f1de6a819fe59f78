"""What is done by the clock; may run twice."""

from __future__ import annotations

from celery import shared_task
from django.utils.timezone import now

from console.retention import services


@shared_task(name="console.retention.tasks.apply")
def apply() -> None:
    """Delete what has its time behind it."""
    services.apply_due(at=now())
