"""`python -m console.manage compare_rows`: what `amulet audit compare` runs. Whether consents, people and predictions
are as log and ledger have them.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from console.privacy.rows import not_as_told

_SHOWN: Final = 100


class Command(BaseCommand):
    help = "Name rows that somebody changed or put back: they are not as the audit log and the ledger of erasures say."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Machine-readable: how many, and the first of them.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exit status 1 where there is one."""
        found = 0
        named: list[str] = []
        try:
            for sentence in not_as_told():
                found += 1
                if found <= _SHOWN:
                    named.append(sentence)
        except (OSError, DatabaseError) as error:
            raise CommandError(f"not all rows could be compared: {error}") from error
        self.stdout.write(json.dumps({"found": found, "rows": named}) if options["json"] else _told(found, named))
        if found:
            sys.exit(1)


def _told(found: int, named: list[str]) -> str:
    more = [f"… and {found - len(named)} more"] if found > len(named) else []
    verdict = f"{found} rows are not as they were told" if found else "all rows are as they were told"
    return "\n".join((*named, *more, verdict))
