"""What privacy does by the clock and by wake-up call. Every task may run twice and may be lost: beat finds it again."""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import DatabaseError
from django.utils.timezone import now

from console.privacy import erasure, queries, refused, services

_log = logging.getLogger(__name__)


@shared_task(name="console.privacy.tasks.carry_out")
def carry_out(request_id: int) -> None:
    """Take one erasure as far as it goes."""
    try:
        erasure.carry_out(request_id)
    except (OSError, DatabaseError) as error:
        _log.error("an erasure goes on later", extra={"request": request_id, "error": type(error).__name__})


@shared_task(name="console.privacy.tasks.find_work")
def find_work() -> None:
    """Go on with every erasure that is not done."""
    for request_id in list(queries.unfinished_erasures().values_list("pk", flat=True)):
        carry_out(request_id)


@shared_task(name="console.privacy.tasks.escalate")
def escalate() -> None:
    """Tell of requests whose limit comes near."""
    if told := services.escalate(at=now()):
        _log.warning("privacy requests come near their limit", extra={"requests": told})


@shared_task(name="console.privacy.tasks.erase_refused")
def erase_refused() -> None:
    """Take out what came late of people who were erased, and was refused."""
    try:
        gone = refused.erase_late()
    except (OSError, DatabaseError) as error:
        _log.error("refused events of erased people stay until the next look", extra={"error": type(error).__name__})
        return
    if gone:
        _log.info("refused events of erased people are taken out", extra={"events": gone})
