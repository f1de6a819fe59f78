"""What webhooks do by the clock. Every task may run twice and may be lost: what waits stands in the database."""

from __future__ import annotations

from celery import shared_task
from django.utils.timezone import now

from console.webhooks import services


@shared_task(name="console.webhooks.tasks.deliver")
def deliver() -> None:
    """Queue what happened, and try what is due."""
    services.enqueue()
    services.deliver(at=now())
