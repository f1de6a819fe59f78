"""Guardrails by the clock. The task may run twice and may be lost: what it reads stands in the database."""

from __future__ import annotations

import logging

from celery import shared_task
from django.utils.timezone import now

from console.rollout import experiments, guardrails, queries, services

_log = logging.getLogger(__name__)


@shared_task(name="console.rollout.tasks.watch")
def watch() -> None:
    """Read every guardrail and end what one of them found worse; settle experiments that have their outcome."""
    for route in queries.watched_routes(now()):
        fired = next((reading for reading in guardrails.read(route) if reading.fires), None)
        if fired is None:
            continue
        if services.act_on(fired, route_id=route.pk) is not None:
            _log.warning("a guardrail fired", extra={"version": str(route.version), "rule": fired.definition.rule})
    experiments.settle_due()
