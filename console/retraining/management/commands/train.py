"""`python -m console.manage train`: carry out the training jobs that wait, and end."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from console.retraining import demand, programs, work
from console.vault.queries import key_complaint


class Command(BaseCommand):
    help = "Carries out the training jobs that wait, one after another, and ends when none does."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if (complaint := key_complaint()) is not None:
            raise CommandError(complaint)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: programs.leaving.set())
        demand.taken()  # before looking: a job that comes after the last look asks again
        work.carry_out_waiting()
