"""What keeps a process from using a database of SQLite, looked at before anything is written to it.

SQLite's own words name neither the file nor the cause: a disk without room is "disk I/O error" or "unable to open
database file" as it happens, and Django takes either, at its first question, for a SQLite that knows no JSON. A file
that may be read and not written is no error at all until somebody writes. Nothing of Django is imported here: `amulet
doctor` asks the same before a start.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

ROOM_MIB_MIN: Final = 16  # making every table writes 5 MiB of log before the first of it is taken into the file
LOOK_S_MAX: Final = 20.0
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PRIMARY: Final = 0xFF  # of a result code; the rest says more


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with the file or its place, and what helps. Two parts of one sentence."""

    found: str
    mend: str

    def __str__(self) -> str:
        return f"{self.found}: {self.mend}"


def complaint(file: Path, *, thorough: bool = False) -> Complaint | None:
    """Why `file` cannot be read and written; None for one that can, and for one that can be made. Changes nothing.

    thorough: look through all of it for damage, for LOOK_S_MAX at most.
    """
    found = of_place(file)
    if found is None and file.exists():
        found = _unreadable(file, thorough=thorough)
    return found


def of_place(file: Path) -> Complaint | None:
    """What keeps this user from writing to `file`, or beside it, where SQLite keeps its log; None: nothing does."""
    folder = next(path for path in file.parents if path.exists())
    if is_read_only(folder):
        return Complaint(
            f"{file} lies on a disk that is mounted read-only",
            f"mount {folder} writable again (the kernel's log says why it is not), or name a file on another disk",
        )
    for place in (folder, file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            owner, user = place.stat().st_uid, os.getuid()
            return Complaint(
                f"{place} belongs to user {owner}, and user {user} may not write to it",
                f"`chown -R {user} {file.parent}`, or start as user {owner}",
            )
    free_mib = shutil.disk_usage(folder).free / 2**20
    if free_mib < ROOM_MIB_MIN:
        return Complaint(
            f"{free_mib:.1f} MiB are free on the disk of {file}", f"make room there, {ROOM_MIB_MIN} MiB at least"
        )
    return None


def is_read_only(folder: Path) -> bool:
    """Whether the disk that it lies on takes nothing from anybody."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def complaint_of(error: BaseException, file: Path) -> Complaint | None:
    """What SQLite refused, from an error that it is a cause of; None where SQLite is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    return of_place(file) or _of_sqlite(cause, file)


def _of_sqlite(error: sqlite3.Error, file: Path) -> Complaint:
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code == sqlite3.SQLITE_FULL:  # and by now there is room again
        return Complaint(f"the disk of {file} was full", "make room there, and try again")
    if code in _DAMAGED:
        return Complaint(f"{file}: {error}", "`amulet down`, then put it back from a backup")
    return Complaint(f"{file}: {error}", "look at its folder, its disk and who else has it open")


def _unreadable(file: Path, *, thorough: bool) -> Complaint | None:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=5.0)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            said = _looked_through(connection) if thorough else "ok"
    except sqlite3.Error as error:
        return _of_sqlite(error, file)
    if said == "ok":
        return None
    return Complaint(f"{file} is damaged: {said}", "`amulet down`, then put it back from a backup")


def holds_tables(file: Path) -> bool:
    """Whether it was ever migrated. Raises sqlite3.Error."""
    if not file.exists():
        return False
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=5.0)) as connection:
        found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'django_migrations'").fetchone()
    return bool(found[0])


def _looked_through(connection: sqlite3.Connection) -> str:
    until_s = time.monotonic() + LOOK_S_MAX
    connection.set_progress_handler(lambda: time.monotonic() > until_s, 100_000)
    try:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_INTERRUPT:
            raise
        return "ok"  # as far as was looked
    return " ".join(str(said).split())
