"""What data sets do by the clock. Tasks may run twice and may be lost: the next one looks again."""

from __future__ import annotations

from celery import shared_task
from django.utils.timezone import now

from console.datasets import proposals


@shared_task(name="console.datasets.tasks.propose")
def propose() -> None:
    """See which models should learn anew."""
    proposals.propose_all(at=now())
