"""`python -m console.manage checkpoint [--watch]`: sign what the audit log has become."""

from __future__ import annotations

import signal
import threading
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from console.audit.notes import KeyUnreadable
from console.audit.signer import HistoryChanged, Signer
from console.audit.watch import EVERY_S, watch

EVERY_S_MAX: Final = 60.0


class Command(BaseCommand):
    help = "Sign a checkpoint of the audit log; with --watch, whenever the log has grown."
    requires_system_checks = ()  # they would load every page and view, 40 MB that signing never uses

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--watch", action="store_true", help="Go on until told to stop.")
        parser.add_argument("--every", type=float, default=EVERY_S, help="Seconds between two looks, at most 60.")

    def handle(self, *args: Any, **options: Any) -> None:
        amulet = settings.AMULET
        if not 0 < options["every"] <= EVERY_S_MAX:
            raise CommandError("--every must be above 0 and at most 60 seconds")
        try:
            signer = Signer(amulet.audit_key_file, amulet.checkpoint_dir)
        except (HistoryChanged, KeyUnreadable, OSError) as error:
            raise CommandError(f"no checkpoint can be signed: {error}") from error
        if options["watch"]:
            stopped = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stopped.set())
            watch(signer, every_s=options["every"], stopped=stopped)
            return
        try:
            checkpoint = signer.sign(now())
        except (HistoryChanged, OSError) as error:
            raise CommandError(f"no checkpoint was signed: {error}") from error
        self.stdout.write(checkpoint.note if checkpoint else "the log has not grown since the last checkpoint\n")
