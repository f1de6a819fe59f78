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
import sys
from threading import Thread
from typing import Any

from celery.beat import EmbeddedService

from console.celery_app import app
from console.site.configuration import ConfigurationWrong

_log = logging.getLogger(__name__)


def main() -> int:
    """Work until told to stop. Returns 2 with one sentence when a setting is wrong, or a secret (`celery_app`)."""
    parser = argparse.ArgumentParser(prog="console.worker")
    parser.add_argument("--schedule", required=True, help="File in which the clock notes when it sent what.")
    schedule = str(parser.parse_args().schedule)
    try:
        # `solo`: this one thread does the tasks, one after another.
        worker = app.Worker(pool_cls="solo", loglevel="INFO", without_mingle=True)
    except ConfigurationWrong as error:
        sys.stderr.write(f"{error}\n")
        return 2
    clock = EmbeddedService(app, thread=True, schedule_filename=schedule, scheduler_cls=app.conf.beat_scheduler)
    Thread(target=_run_or_end, args=(clock,), name="clock", daemon=True).start()
    worker.start()
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
