"""`python -m console.manage vault_keys show|add|use|rewrap|remove|lost|give_up`: what `amulet vault` runs."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from console.vault import lost_keys, rotation
from console.vault.cipher import KeyUnreadable
from console.vault.key_file import KeyRefused

# What a secret says that is mounted into a container: no disk of ours that is full.
_MOUNTED: Final = (errno.EROFS, errno.EBUSY, errno.EACCES, errno.EPERM)
_WHERE_IT_COMES_FROM: Final = (
    ". Change the file that it is a copy of, with `amulet vault … --file FILE` where that lies"
)


class Command(BaseCommand):
    help = "Lists the vault's master keys, adds one, lets one wrap, removes one or gives up a lost one."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("show", "add", "use", "rewrap", "remove", "lost", "give_up"))
        parser.add_argument("key", nargs="?", default="", help="Id of a key, for all but the first two and `rewrap`.")
        parser.add_argument("--from", dest="source", type=Path, help="Add the keys of this file from before.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints a line of JSON for all that was wrapped anew so far, and one for the keys as they are in the end."""
        action, key = options["action"], options["key"]
        try:
            if action == "add":
                rotation.add_key(source=options["source"])
            elif action == "use":
                rotation.use_key(key)
            elif action == "remove":
                rotation.remove_key(key)
            elif action == "lost":
                self._say({"lost": asdict(lost_keys.lost(key))})
            elif action == "give_up":
                lost_keys.give_up(key)
            if action in ("use", "rewrap"):
                self._rewrap()
            self._say({"keys": [{"id": each.id, "use": each.use, "people": each.people} for each in rotation.states()]})
        except (KeyRefused, KeyUnreadable) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            lies = _WHERE_IT_COMES_FROM if error.errno in _MOUNTED and action in ("add", "use", "remove") else ""
            raise CommandError(f"{error.filename} cannot be used: {error.strerror}{lies}") from None
        except DatabaseError as error:
            raise CommandError(f"the database cannot be used: {str(error).splitlines()[0]}") from None

    def _rewrap(self) -> None:
        total = 0

        def said(more: int) -> None:
            nonlocal total
            total += more
            self._say({"rewrapped": total})

        rotation.rewrap(said=said)

    def _say(self, document: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(document))
        self.stdout.flush()
