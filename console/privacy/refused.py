"""Events that the console refused, which a gateway on this machine keeps in `rejected/` of its journal.

A line is a JSON object whose `event` is the event in base64, so that no search for bytes finds anybody in it. Each
is read and asked whose it is: by the keyed hash of its pseudonym, and by the names and ids that a person is found by.
The lines of a person are taken out; the gateway only ever adds files, and counts what is left.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from google.protobuf.message import DecodeError

from console.vault import queries as vault
from console.vault.cipher import find_by
from console.vault.services import may_precede
from protos.amulet.events.v1 import events_pb2 as pb
from protos.durable import sync_folder

_FOLDER: Final = "rejected"
_ASIDE: Final = ".erasing"  # ends the name of a file that is being written anew


@dataclass(frozen=True, slots=True)
class Sought:
    """By what an event is this person's."""

    subject_id: UUID
    found_by: bytes  # keyed hash of the pseudonym; empty: not known
    prediction_ids: Collection[str]
    references: Collection[str]
    calls: Collection[str]  # no other row has them

    def is_led_to_by(self, content: bytes) -> bool:
        """Whether an event, or what was sent in place of one, leads to this person."""
        event = _event(content)
        if event is None:
            ids = (str(self.subject_id), *self.prediction_ids)
            return any(key.encode() in content for key in ids)
        made = event.prediction
        if made.subject.pseudonym and self.found_by:  # whoever else shares the name of a call with this person
            return find_by(vault.keys(), made.subject.pseudonym) == self.found_by
        return (
            made.prediction_id in self.prediction_ids
            or event.feedback.prediction_id in self.prediction_ids
            or event.shadow.prediction_id in self.prediction_ids
            or made.subject.consent_reference in self.references
            or made.request_id in self.calls
        )


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """What a person may be told of one of theirs."""

    happened_at: datetime | None  # None where it says no moment that is one
    why: str  # as the console refused it
    request_id: str  # what a caller named the call by
    comment: str  # of feedback
    photographs: int  # that came with it, sealed


def count(sought: Sought) -> int:
    """How many refused events lead to a person. Raises OSError."""
    return sum(sought.is_led_to_by(content) for file in _files() for _line, content in _lines(file))


def of(sought: Sought) -> list[RefusedEvent]:
    """What was refused that leads to a person. Raises OSError."""
    return [_told(line, content) for file in _files() for line, content in _lines(file) if sought.is_led_to_by(content)]


def erase(sought: Sought) -> int:
    """Take them out, durably. Returns how many. May be repeated. Raises OSError."""
    return _take_out(sought.is_led_to_by)


def erase_late() -> int:
    """Take out what was refused after its person's erasure had searched here. Returns how many. Raises OSError."""
    named = {name for file in _files() for _line, content in _lines(file) if (name := _pseudonym(content))}
    erased_at = vault.erased_at(named)

    def is_late(content: bytes) -> bool:
        event = _event(content)
        name = _pseudonym(content)
        return event is not None and name in erased_at and may_precede(_happened_at(event), erased_at[name])

    return _take_out(is_late) if erased_at else 0


def _take_out(goes: Callable[[bytes], bool]) -> int:
    gone = 0
    with _alone():
        for aside in _named(_ASIDE):  # of an erasure that was killed: what it holds stands in the file, too
            aside.unlink()
        for file in _files():
            lines = list(_lines(file))
            left = [line for line, content in lines if not goes(content)]
            if len(left) == len(lines):
                continue
            gone += len(lines) - len(left)
            if left:
                _replace(file, b"".join(left))
            else:
                file.unlink(missing_ok=True)
            sync_folder(_folder())
    return gone


@contextmanager
def _alone() -> Iterator[None]:
    """One erasure at a time: of two that write a file anew, the later would bring back what the first took out."""
    try:
        folder = os.open(_folder(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # nothing is in it
        yield
        return
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _folder() -> Path:
    folder: Path = settings.AMULET.journal_dir / _FOLDER
    return folder


def _files() -> list[Path]:
    return _named(".jsonl")


def _named(ending: str) -> list[Path]:
    try:
        return sorted(file for file in _folder().iterdir() if file.name.endswith(ending))
    except FileNotFoundError:  # the gateway is elsewhere, or nothing was ever refused
        return []


def _lines(file: Path) -> Iterator[tuple[bytes, bytes]]:
    """Each line as it is written, and the event in it: the line itself where it is not one of a gateway's."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:  # somebody has dealt with it
        return
    for line in content.splitlines(keepends=True):
        yield line, _content(line)


def _told(line: bytes, content: bytes) -> RefusedEvent:
    event = _event(content) or pb.Event()
    try:
        why = str(json.loads(line)["why"])
    except (ValueError, TypeError, KeyError):
        why = ""
    happened_at = _happened_at(event) if event.HasField("happened_at") else None
    return RefusedEvent(
        happened_at=None if happened_at is None or happened_at.year == 1 else happened_at,
        why=why,
        request_id=event.prediction.request_id,
        comment=event.feedback.comment,
        photographs=sum(view.HasField("photo") for view in event.prediction.views),
    )


def _content(line: bytes) -> bytes:
    try:
        document: Any = json.loads(line)
        return base64.b64decode(document["event"], validate=True)
    except (ValueError, TypeError, KeyError, binascii.Error):
        return line


def _event(content: bytes) -> pb.Event | None:
    try:
        return pb.Event.FromString(content)
    except DecodeError:
        return None


def _pseudonym(content: bytes) -> str:
    event = _event(content)
    return "" if event is None else event.prediction.subject.pseudonym


def _happened_at(event: pb.Event) -> datetime:
    """The first moment of all where it says none that is one: such an event is before every erasure."""
    try:
        return event.happened_at.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def _replace(file: Path, content: bytes) -> None:
    aside = file.with_name(file.name + _ASIDE)
    with open(aside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as written:
        written.write(content)
        written.flush()
        os.fsync(written.fileno())
    aside.rename(file)
