"""What is done by the clock; may run twice."""

from __future__ import annotations

from celery import shared_task
from django.utils.timezone import now

from console.idempotency import services


@shared_task(name="console.idempotency.tasks.tidy")
def tidy() -> None:
    """Forget old calls."""
    services.tidy(at=now())
