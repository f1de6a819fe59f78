"""Encrypted objects on local disk: FOLDER/ab/abcdef….bin, named by their random id.

A write is durable when it returns. A file without a row in the database is rubbish that a
crash left: its salt is gone, so nobody can read it, and the sweep removes it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

SHELVES: Final = 256  # folders, of about as many objects each


class ObjectStore:
    """One folder of objects. Safe for several processes: no two ever write one name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, object_id: UUID, content: bytes) -> None:
        """Raises OSError; then nothing is there under this id, or a sweep removes it."""
        path = self._path(object_id)
        created = not path.parent.exists()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                # On a full disk each try would otherwise leave a piece, until nothing else has room either.
                path.unlink(missing_ok=True)
                raise
        _sync_folder(path.parent)
        if created:
            _sync_folder(self._folder)

    def read(self, object_id: UUID) -> bytes:
        """Raises FileNotFoundError, OSError."""
        return self._path(object_id).read_bytes()

    def holds(self, object_id: UUID) -> bool:
        return self._path(object_id).exists()

    def delete(self, object_id: UUID) -> None:
        """Harmless when it is gone already. Raises OSError."""
        self._path(object_id).unlink(missing_ok=True)

    def older_than(self, timestamp_s: float, *, shelf: int) -> Iterator[UUID]:
        """Ids of one shelf's objects written before a time, in seconds since the epoch. shelf: 0 to SHELVES - 1."""
        for path in self._folder.glob(f"{shelf:02x}/*.bin"):
            with contextlib.suppress(FileNotFoundError, ValueError):  # deleted meanwhile; not ours
                if path.stat().st_mtime < timestamp_s:
                    yield UUID(path.stem)

    def _path(self, object_id: UUID) -> Path:
        name = object_id.hex
        return self._folder / name[:2] / f"{name}.bin"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
