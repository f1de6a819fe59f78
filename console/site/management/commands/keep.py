"""`python -m console.manage keep`: what looks after the rest, in one process.

The reconciler looks at TorchServe once a second and the signer at the audit log every five; each would
hold its own Django in memory to sleep most of the time. They share nothing but the process: each has its
thread and its connection to the database, and neither ends because the other cannot work. `reconcile`
and `checkpoint --watch` are the same apart.
"""

from __future__ import annotations

import signal
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from console.audit.watch import watch_whatever_happens
from console.pulse.models import Service
from console.pulse.services import beat
from console.rollout.keeping import AnotherAtWork, keep_torchserve


class Command(BaseCommand):
    help = "Keeps TorchServe holding what has a route, and signs checkpoints of the audit log."
    requires_system_checks = ()  # they would load every page and view, 40 MB that nothing here uses

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        amulet = settings.AMULET
        with ThreadPoolExecutor(2, thread_name_prefix="keep") as threads:
            running = [
                threads.submit(keep_torchserve, stopped=stopped),
                threads.submit(
                    watch_whatever_happens,
                    amulet.audit_key_file,
                    amulet.checkpoint_dir,
                    stopped=stopped,
                    looked=partial(beat, Service.SIGNER),
                ),
            ]
            # Both go on until they are told to stop: who ends before has met a fault of ours, for the supervisor.
            wait(running, return_when=FIRST_COMPLETED)
            stopped.set()
        for work in running:
            try:
                work.result()
            except AnotherAtWork as error:
                raise CommandError(str(error)) from None
