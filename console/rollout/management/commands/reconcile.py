"""`python -m console.manage reconcile`: keep TorchServe holding what it should, until told to stop."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.rollout.keeping import AnotherAtWork, keep_torchserve
from console.torchserve.reconcile import INTERVAL_S


class Command(BaseCommand):
    help = "Registers with TorchServe what has a route and unregisters what has none, once a second."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--interval", type=float, default=INTERVAL_S, help="Seconds between two looks.")

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        try:
            keep_torchserve(stopped=stopped, interval_s=options["interval"])
        except AnotherAtWork as error:
            raise CommandError(str(error)) from None
