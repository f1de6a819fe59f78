"""The worker of a stack on one machine, with the clock in a thread: `python -m console.worker`.

Celery has worker and beat as two processes, of which the second holds a hundred megabytes to send a
message now and then. Where there is one worker there is one clock, and it may as well live in it. Where
there are several, `celery -A console.celery_app worker` and one `celery … beat` are started instead.

Nor is this Celery's own command: that imports a shell for people, with prompt and colours.
"""

from __future__ import annotations

import argparse
import logging
import os
from threading import Thread
from typing import Any

from celery.beat import EmbeddedService
from celery.signals import celeryd_after_setup

from console.celery_app import app

_log = logging.getLogger(__name__)


def main() -> int:
    """Work until told to stop. A wrong setting or secret ends it with one sentence, status 2 (`celery_app`)."""
    parser = argparse.ArgumentParser(prog="console.worker")
    parser.add_argument("--schedule", required=True, help="File in which the clock notes when it sent what.")
    schedule = str(parser.parse_args().schedule)
    # `solo`: this one thread does the tasks, one after another.
    worker = app.Worker(pool_cls="solo", loglevel="INFO", without_mingle=True)
    clock = EmbeddedService(app, thread=True, schedule_filename=schedule, scheduler_cls=app.conf.beat_scheduler)
    ticking = Thread(target=_run_or_end, args=(clock,), name="clock", daemon=True)
    # Once its queues are there (`celery_app`): what is sent before has nowhere to lie.
    celeryd_after_setup.connect(lambda **_: ticking.start(), weak=False)
    worker.start()
    if ticking.is_alive():
        clock.stop()
    return int(worker.exitcode or 0)


def _run_or_end(clock: Any) -> None:
    """Run the clock. One that fails takes the worker along, which the supervisor starts again: nothing would be done.

    At once and not in good order: every task may run twice, and one that runs may run for minutes.
    """
    try:
        clock.run()
    except BaseException:
        _log.exception("the clock stopped")
        os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
