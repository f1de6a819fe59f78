"""`python -m console.manage replay_erasures`: after a restore, erase again whom the ledger names. `serve` does it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from console.privacy.erasure import replay
from console.vault.queries import key_complaint


class Command(BaseCommand):
    help = "Erase again everybody in the ledger of erasures whom a restore brought back."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if (complaint := key_complaint()) is not None:
            raise CommandError(complaint)
        try:
            again = replay()
        except (OSError, ValueError, DatabaseError) as error:
            raise CommandError(f"the ledger of erasures cannot be applied: {error}") from error
        self.stdout.write(f"{again} erased again")
