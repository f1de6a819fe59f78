"""Events that the console refuses for good: kept aside with its reason, never dropped.

Each delivery that had some adds one file to `rejected/`, named after the last sequence in
it, with one JSON object a line:

    {"sequence": 1042, "event_id": "0192…", "why": "unknown client", "event": "<base64>"}

Where a console runs on the same machine, an erasure reads them and takes out the lines of its person
(`console.privacy.refused`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.journal.format import last_sequence_in_name, refused_name
from gateway.journal.refusals import is_refusal
from gateway.journal.segment import write_durably

REJECTED_FOLDER: Final = "rejected"


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """An event, and why the console will never take it."""

    sequence: int
    event_id: str  # empty when the record is no event
    why: str
    content: bytes


@dataclass(frozen=True, slots=True)
class _Kept:
    """One file: an erasure may take a person's events out of it, and then it is smaller."""

    size_bytes: int
    events: int


class RejectedEvents:
    """The folder of rejected events of one journal. Blocks on the disk."""

    def __init__(self, journal_folder: Path) -> None:
        self.folder = journal_folder / REJECTED_FOLDER
        files = _files(self.folder)
        self._last_sequence = max(files, default=0)
        self._kept: dict[str, _Kept] = {}
        for _, file in sorted(files.items()):
            with suppress(FileNotFoundError):  # an erasure that runs meanwhile has taken out its last line
                self._kept[file.name] = _Kept(_size_bytes(file), _count(file))
        self.count = self._sum()

    def keep(self, events: Sequence[RejectedEvent]) -> None:
        """Keep them durably; those that were kept before, in an interrupted delivery, are not kept twice.

        They are told by their numbers, which a journal never gives again while something is kept (`recovery`).

        Raises OSError, and then the delivery they came from must not count as done.
        """
        new = [event for event in events if event.sequence > self._last_sequence]
        if not new:
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        last = max(event.sequence for event in new)
        name, content = refused_name(last), b"".join(map(_line, new))
        write_durably(self.folder / name, content)
        self._last_sequence = last
        self._kept[name] = _Kept(len(content), len(new))  # as written: an erasure may be in it already
        self.count = self._sum()

    def look_again(self) -> None:
        """Count no longer what was taken out of the folder, or out of a file in it: somebody has dealt with it."""
        for name, kept in list(self._kept.items()):
            file = self.folder / name
            try:
                if (size_bytes := _size_bytes(file)) != kept.size_bytes:
                    self._kept[name] = _Kept(size_bytes, _count(file))
            except (FileNotFoundError, NotADirectoryError):
                del self._kept[name]
            except OSError:
                continue  # what cannot be looked at has lost nothing
        self.count = self._sum()

    def _sum(self) -> int:
        return sum(kept.events for kept in self._kept.values())


def last_kept(journal_folder: Path) -> int:
    """The highest sequence that is kept aside; 0: none is. Raises OSError."""
    return max(_files(journal_folder / REJECTED_FOLDER), default=0)


def _files(folder: Path) -> dict[int, Path]:
    """By the last sequence in each. A note or a copy that somebody left beside them counts for nothing."""
    found = folder.iterdir() if folder.is_dir() else ()
    return {last: file for file in found if (last := last_sequence_in_name(file)) is not None}


def _size_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        if not is_refusal(error):
            raise
        return -1


def _count(file: Path) -> int:
    try:
        return file.read_bytes().count(b"\n")
    except OSError as error:
        if not is_refusal(error):
            raise
        return 1  # at least: a file that the disk refuses keeps no gateway from starting


def _line(event: RejectedEvent) -> bytes:
    fields = {
        "sequence": event.sequence,
        "event_id": event.event_id,
        "why": event.why,
        "event": base64.b64encode(event.content).decode(),
    }
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"
