"""`python -m console.manage migrate`: Django's own, one at a time, and refused in words where it cannot be done.

Two at once look, both miss a table, both make it, and the slower one ends half way. It takes no more than an `amulet
up` that is killed and typed again: the first one's goes on. Of the tables of a newer version Django says nothing, and
the older console over them would be called ready.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands.migrate import Command as Migrate
from django.db import DatabaseError, Error, connections
from django.db.migrations.exceptions import MigrationSchemaMissing
from django.db.migrations.loader import MigrationLoader

from console.site import database_file

OTHER_S_MAX: Final = 600.0
_LOOK_S: Final = 0.5
_LOCK: Final = int.from_bytes(b"amulet")  # of PostgreSQL's advisory ones, which are of one database


class Command(Migrate):
    def execute(self, *args: Any, **options: Any) -> Any:
        connection: Any = connections[options["database"]]
        try:
            with ExitStack() as inside:
                if connection.vendor == "sqlite":
                    if not connection.is_in_memory_db():
                        file = Path(connection.settings_dict["NAME"])
                        _look_at(file)
                        inside.enter_context(self._alone_with_file(file))
                else:
                    inside.enter_context(self._alone_on_server(connection))
                _refuse_newer(connection)
                return super().execute(*args, **options)
        except (DatabaseError, MigrationSchemaMissing) as error:
            found = None
            if connection.vendor == "sqlite":
                found = database_file.complaint_of(error, Path(connection.settings_dict["NAME"]))
            if found is None:
                raise
            raise CommandError(str(found)) from error

    @contextmanager
    def _alone_with_file(self, file: Path) -> Iterator[None]:
        # The folder and not the file: SQLite's own locks of a process go when it closes that by another way.
        with _descriptor(file.parent) as folder:

            def had() -> bool:
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            self._wait_for(had)
            yield

    @contextmanager
    def _alone_on_server(self, connection: Any) -> Iterator[None]:
        # A connection of its own: whatever becomes of the other's transactions, this one's end lets go.
        with closing(connection.copy()) as lock:
            lock.set_autocommit(False)
            with lock.cursor() as cursor:
                # Of a transaction and not of a session, which a proxy that shares sessions (PgBouncer by transaction)
                # gives to the next who asks, with the lock. It waits without a snapshot: nothing waits for it.
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")

                def had() -> bool:
                    # Not the one that waits: a lock_timeout in the address is for tables.
                    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
                    return bool(cursor.fetchone()[0])

                self._wait_for(had)
                yield
            # Closing alone leaves it to the server when it notices: the next one would be told that another is at work.
            with suppress(Error):  # the server let go of it by itself, and all is done
                lock.rollback()

    def _wait_for(self, had: Callable[[], bool]) -> None:
        until_s = time.monotonic() + OTHER_S_MAX
        told = False
        while not had():
            if time.monotonic() > until_s:
                raise CommandError(f"another `migrate` has been at work on this database for {OTHER_S_MAX:.0f} s")
            if not told:
                self.stdout.write("Another `migrate` is at work on this database: waiting for its end")
                told = True
            time.sleep(_LOOK_S)


@contextmanager
def _descriptor(folder: Path) -> Iterator[int]:
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield opened
    finally:
        os.close(opened)


def _look_at(file: Path) -> None:
    if not file.parent.is_dir():
        raise CommandError(f"{file} cannot be made: there is no folder {file.parent}")
    found = database_file.complaint(file)
    if found is not None:
        raise CommandError(str(found))


def _refuse_newer(connection: Any) -> None:
    """Raises CommandError where this version lacks migrations that the tables have."""
    loader = MigrationLoader(connection)
    ours = {app.label for app in apps.get_app_configs() if app.name.startswith("console.")}
    applied = (each for each in loader.applied_migrations if each[0] in ours)
    unknown = sorted(".".join(each) for each in applied if each not in loader.disk_migrations)
    if unknown:
        raise CommandError(
            f"this database is of a newer version of Amulet, whose {unknown[0]} is unknown here: start that version, "
            "or restore the backup from before the upgrade"
        )
