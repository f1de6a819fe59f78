"""Signs what the log has become, in a process that answers nobody and alone holds the key.

    state of the last signature ──► new entries, link by link ──► root ──► note
         (signed.json)                                              │
            ▲                                                       ├─► YYYY-MM-DD.txt, fsync
            └─────────────────── after both ◄───────────────────────┴─► database

The state lies beside the published checkpoints and not in the database, and every new entry
must follow it. Whoever rewrites the past in the database therefore finds a signer that
refuses: it never signs two histories.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from console.audit import chain, queries
from console.audit.commands import PUBLIC_KEY_NAME
from console.audit.merkle import Frontier
from console.audit.models import Checkpoint
from console.audit.notes import (
    NOTE_BYTES_MAX,
    load_private_key,
    load_public_key,
    origin_of,
    public_pem,
    read_checkpoint,
    sign_checkpoint,
)
from protos.durable import sync_folder

STATE_NAME: Final = "signed.json"
_SIGNED: Final = re.compile(rb"\n\xe2\x80\x94 [^\n]+(?=\n)")  # a note ends with a whole line of a signature


class HistoryChanged(Exception):
    """The log does not continue what was signed before, as one sentence. A person must look."""


@dataclass(frozen=True, slots=True)
class Signed:
    """Where the last signature left the log."""

    frontier: Frontier
    last_hash: bytes


class Signer:
    """Signs checkpoints into one folder. Two at once do no harm: they state the same."""

    def __init__(self, key_file: Path, folder: Path) -> None:
        """Raises KeyUnreadable, OSError."""
        self._key: Ed25519PrivateKey = load_private_key(key_file)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        public = folder / PUBLIC_KEY_NAME
        if not public.exists():
            _write_whole(public, public_pem(self._key.public_key()))
        elif load_public_key(public).public_bytes_raw() != self._key.public_key().public_bytes_raw():
            raise HistoryChanged(
                f"{key_file} is not the key of {public}: a new key starts a new log in a folder of its own"
            )
        for published in folder.glob("*.txt"):  # a note that a power cut tore may be the last one of its day
            with suppress(OSError):  # of a file that is locked away by now, say
                _mend(published, self._key.public_key())

    def sign(self, at: datetime) -> Checkpoint | None:
        """Sign the log as it stands; None when it has not grown since. Raises HistoryChanged, OSError.

        at: the wall-clock time, for the name of the file. After a crash at any point the next
        call signs again, and every earlier note stays true and stands whole.
        """
        before = self._read_state()
        last = queries.last_sequence()
        signed = before.frontier.size
        if last < signed:
            raise HistoryChanged(f"the log ends with entry {last}, but {signed} entries were signed")
        if last == signed:
            return None if last == 0 or self._published(last) else self._publish(before.frontier, at, again=True)
        frontier, last_hash = _extend(before, last)
        checkpoint = self._publish(frontier, at)
        self._write_state(Signed(frontier, last_hash))
        return checkpoint

    def _publish(self, frontier: Frontier, at: datetime, *, again: bool = False) -> Checkpoint:
        note = sign_checkpoint(self._key, size=frontier.size, root=frontier.root())
        if not again:
            _append(self._folder / f"{at.astimezone(UTC):%Y-%m-%d}.txt", note + "\n", self._key.public_key())
        checkpoint = Checkpoint(size=frontier.size, created_at=at, note=note, frontier=frontier.to_bytes())
        Checkpoint.objects.bulk_create([checkpoint], ignore_conflicts=True)
        return checkpoint

    def _published(self, size: int) -> bool:
        return Checkpoint.objects.filter(size=size).exists()

    def _read_state(self) -> Signed:
        try:
            state = json.loads((self._folder / STATE_NAME).read_text("utf-8"))
        except FileNotFoundError:
            return Signed(Frontier(), bytes.fromhex(chain.GENESIS))
        return Signed(
            Frontier(state["size"], [bytes.fromhex(root) for root in state["frontier"]]),
            bytes.fromhex(state["last_hash"]),
        )

    def _write_state(self, signed: Signed) -> None:
        state = {
            "size": signed.frontier.size,
            "frontier": [root.hex() for root in signed.frontier.roots],
            "last_hash": signed.last_hash.hex(),
        }
        _write_whole(self._folder / STATE_NAME, json.dumps(state).encode())


def _extend(before: Signed, last: int) -> tuple[Frontier, bytes]:
    """Follow the chain from the last signature to entry `last`. Raises HistoryChanged where it breaks."""
    frontier = Frontier(before.frontier.size, before.frontier.roots)
    previous = before.last_hash
    for row in queries.rows(frontier.size + 1, last):
        content_hash = chain.entry_hash(
            sequence=row.sequence,
            time=chain.time_text(row.recorded_at),
            type_=row.type,
            actor=row.actor,
            previous=row.previous_hash.hex(),
            commitment=row.commitment.hex(),
        )
        if row.sequence != frontier.size + 1 or row.previous_hash != previous or content_hash != row.entry_hash:
            raise HistoryChanged(
                f"entry {row.sequence} does not continue the log as it was signed through {before.frontier.size}"
            )
        frontier.append(content_hash)
        previous = content_hash
    if frontier.size != last:
        raise HistoryChanged(f"entries {frontier.size + 1} to {last} are missing")
    return frontier, previous


def _append(path: Path, text: str, key: Ed25519PublicKey) -> None:
    """Write a note behind those of a file. A full disk takes the beginning of one: that does not stay."""
    new = not path.exists()
    with path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # of two signers at once, none cuts what the other is writing
        _cut_torn(file, key)
        try:
            _write_all(file, text.encode())
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):  # what cannot be cut now is cut before the next note
                _cut_torn(file, key)
            raise
    if new:
        sync_folder(path.parent)


def _mend(path: Path, key: Ed25519PublicKey) -> None:
    with path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _cut_torn(file, key)


def _cut_torn(file: FileIO, key: Ed25519PublicKey) -> None:
    """Cut the beginning of a note of this log from the end of a file; of anything else nothing.

    Whoever read all notes would stumble over it, and over the next one, which would stand in its last line.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - NOTE_BYTES_MAX))
    tail = file.read()
    rest = tail[max((found.end() for found in _SIGNED.finditer(tail)), default=0) :].lstrip(b"\n")
    begins = f"{origin_of(key)}\n".encode()
    if not rest or not (rest.startswith(begins) or begins.startswith(rest)):
        return
    try:
        read_checkpoint(key, f"{rest.decode()}\n")
    except ValueError:  # NoteInvalid, or the half of a dash
        file.truncate(size - len(rest))
    else:
        _write_all(file, b"\n\n")  # it lacks the end of its last line alone: no reader is asked to do without it


def _write_all(file: FileIO, content: bytes) -> None:
    """A short write is no error: the next one says what is wrong."""
    while content:
        content = content[file.write(content) :]


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)
