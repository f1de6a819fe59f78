"""`python -m console.manage reconcile`: keep TorchServe holding what it should, until told to stop."""

from __future__ import annotations

import signal
import threading
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, close_old_connections

from console.pulse.models import Service
from console.pulse.services import beat
from console.rollout.queries import wanted_backend_versions
from console.torchserve import connections
from console.torchserve.errors import WantedUnknown
from console.torchserve.management import BackendVersion
from console.torchserve.reconcile import INTERVAL_S, only_one, run


class Command(BaseCommand):
    help = "Registers with TorchServe what has a route and unregisters what has none, once a second."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--interval", type=float, default=INTERVAL_S, help="Seconds between two looks.")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        with only_one(settings.AMULET.data_dir / "reconcile.lock") as alone:
            if not alone:
                raise CommandError("another reconciler is at work on this state folder")
            run(
                connections.management(),
                _wanted,
                wait=stop.wait,
                interval_s=options["interval"],
                looked=partial(beat, Service.TORCHSERVE),
            )


def _wanted() -> set[BackendVersion]:
    close_old_connections()
    try:
        return wanted_backend_versions()
    except DatabaseError as error:
        raise WantedUnknown(f"the database does not answer: {type(error).__name__}") from None
