"""What training does by the clock and by wake-up call. Tasks may run twice and may be lost: jobs stand in the database.

`train` goes to a queue of its own, which only the worker that trains reads: nothing else ever waits for it.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.utils.timezone import now

from console.retraining import demand, folders, programs, queries, services, work

_log = logging.getLogger(__name__)
_silence = services.Silence()


# Not late: a broker hands out again what is not acknowledged within the hour, and this takes longer.
@shared_task(name=demand.TASK, acks_late=False)
def train() -> None:
    """Carry out the jobs that wait, one after another."""
    work.carry_out_waiting()


@shared_task(name="console.retraining.tasks.find_work")
def find_work() -> None:
    """Sweep what a dead worker left, put its job back, and wake who trains when a job may begin."""
    folders.sweep()
    services.plan_after_erasures(at=now())
    if stranded := services.find_stranded(_silence):
        _log.warning("training jobs lost their worker", extra={"jobs": stranded})
    if queries.longest_waiting() is not None:
        demand.ask()


@worker_ready.connect
def sweep_at_start(**_: Any) -> None:
    """Photographs that lie here now are of a worker that died."""
    folders.sweep()


@worker_shutting_down.connect
def stop_training(**_: Any) -> None:
    """A worker that is asked to end does not wait hours for its job: the job goes back into the queue."""
    programs.leaving.set()
