"""`python -m console.manage vault_keys show|add|use|rewrap|remove`: what `amulet vault` runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from console.vault import rotation
from console.vault.cipher import KeyUnreadable
from console.vault.key_file import KeyRefused


class Command(BaseCommand):
    help = "Lists the vault's master keys, adds one, lets one wrap, or removes one under which nothing is wrapped."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("show", "add", "use", "rewrap", "remove"))
        parser.add_argument("key", nargs="?", default="", help="Id of a key, for `use` and `remove`.")
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
            if action in ("use", "rewrap"):
                self._rewrap()
            self._say({"keys": [{"id": each.id, "use": each.use, "people": each.people} for each in rotation.states()]})
        except (KeyRefused, KeyUnreadable) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be used: {error.strerror}") from None
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
