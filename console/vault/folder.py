"""Encrypted objects on a disk: FOLDER/ab/abcdef….bin."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

from protos.durable import sync_folder


class Folder:
    """An `ObjectStore` that several machines may share where the folder is mounted on each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, objects: Iterable[tuple[UUID, bytes]]) -> None:
        for object_id, content in objects:
            self._write(object_id, content)

    def read(self, object_id: UUID) -> bytes:
        return self._path(object_id).read_bytes()

    def held(self, object_ids: Iterable[UUID]) -> int:
        return sum(self._path(object_id).exists() for object_id in object_ids)

    def delete(self, object_ids: Iterable[UUID]) -> None:
        for object_id in object_ids:
            self._path(object_id).unlink(missing_ok=True)

    def older_than(self, timestamp_s: float, *, shelf: int) -> Iterator[UUID]:
        for path in self._folder.glob(f"{shelf:02x}/*.bin"):
            with contextlib.suppress(FileNotFoundError, ValueError):  # deleted meanwhile; not ours
                if path.stat().st_mtime < timestamp_s:
                    yield UUID(path.stem)

    def _write(self, object_id: UUID, content: bytes) -> None:
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
        sync_folder(path.parent)
        if created:
            sync_folder(self._folder)

    def _path(self, object_id: UUID) -> Path:
        name = object_id.hex
        return self._folder / name[:2] / f"{name}.bin"
