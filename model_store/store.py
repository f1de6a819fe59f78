"""The folder that TorchServe loads archives from: whole files, named by content, never changed.

    STORE/<first 32 hexadecimal digits of the SHA-256>.mar     mode 0444
    STORE/.incoming-...                                        being written; a day old and held by nobody: given up

TorchServe registers an archive by its bare name, so a name must mean the same bytes for
ever, and a half-written file must never carry one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from model_store import leftovers
from model_store.errors import ArchiveRefused
from model_store.members import MIB, open_regular
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.durable import sync_folder

if TYPE_CHECKING:
    from model_store.archive import Archive

_INCOMING: Final = ".incoming-"


@dataclass(frozen=True, slots=True)
class StoredArchive:
    path: Path
    sha256: str
    size_bytes: int
    new: bool  # False: the store held it already

    @property
    def name(self) -> str:
        """What TorchServe is asked to register."""
        return self.path.name


def name_for(sha256: str) -> str:
    return f"{sha256[:32]}.mar"


def place(path: Path, store_dir: Path, *, sha256: str | None = None) -> StoredArchive:
    """Copy a verified archive into the store; again and again gives the same.

    sha256: what `verify` reported. A file that has changed since is refused
    (ArchiveRefused, REASON_ARCHIVE_UNREADABLE) and leaves nothing behind.
    When this returns the archive survives a power cut. Raises OSError when the store cannot be written.
    """
    store_dir.mkdir(parents=True, exist_ok=True)
    leftovers.sweep(store_dir, _INCOMING)
    handle, incoming_name = tempfile.mkstemp(prefix=_INCOMING, dir=store_dir)
    incoming = Path(incoming_name)
    try:
        with os.fdopen(handle, "wb") as copy, open_regular(path) as file:
            leftovers.hold(copy.fileno())  # until it has its name
            digest = hashlib.sha256()
            while piece := file.read(MIB):
                digest.update(piece)
                copy.write(piece)
            copy.flush()
            os.fchmod(copy.fileno(), 0o444)
            os.fsync(copy.fileno())
            size_bytes = copy.tell()
            found = digest.hexdigest()
            if sha256 is not None and found != sha256:
                raise ArchiveRefused(
                    words.REASON_ARCHIVE_UNREADABLE, f"{path.name} has changed since it was verified; verify it again"
                )
            target = store_dir / name_for(found)
            new = _settle(incoming, target, found)
        sync_folder(store_dir)
    finally:
        incoming.unlink(missing_ok=True)
    return StoredArchive(target, found, size_bytes, new)


def check(path: Path) -> None:
    """Is a file of the store still what was placed under its name? Reads all of it.

    Raises ArchiveRefused with REASON_ARCHIVE_UNREADABLE for other bytes, OSError when it cannot be read.
    """
    if name_for(_digest(path)) != path.name:
        raise _changed(path)


def open_stored(path: Path) -> Archive:
    """An archive of the store, to be read. Raises ArchiveRefused for other bytes than were placed, OSError."""
    from model_store.archive import Archive  # brings the whole of signing along, which few processes need

    path.stat()  # what is lost is an OSError here
    archive = Archive.open(path)
    if name_for(archive.sha256) != path.name:
        raise _changed(path)
    return archive


def _changed(path: Path) -> ArchiveRefused:
    return ArchiveRefused(
        words.REASON_ARCHIVE_UNREADABLE,
        f"{path.name} in the model store is not the archive that was verified: put that back, or upload it again",
    )


def _settle(incoming: Path, target: Path, sha256: str) -> bool:
    """Give the file its name unless the same content already has it."""
    if target.exists() and not target.is_symlink() and _digest(target) == sha256:
        return False
    incoming.replace(target)
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
