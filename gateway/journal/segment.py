"""One segment file: written at its end by one thread, read from anywhere by others.

A segment appears under its name only with a whole header (written aside, synced, renamed,
folder synced). After the first error of a write or a sync nothing more is written: the
kernel may have dropped the pages that failed and call the next sync a success.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.journal.format import (
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    MARKER,
    file_name,
    first_sequence_of,
    frame,
    frame_header,
    header,
    seal,
)

ASIDE_SUFFIX: Final = ".aside"
_WINDOW_BYTES: Final = 256 * 1024
_BLOCK_BYTES: Final = 4096


class Segment:
    """The end of a segment, open for appending. Used by one thread; nothing else writes the file."""

    def __init__(self, path: Path, descriptor: int, first_sequence: int) -> None:
        self.path = path
        self.first_sequence = first_sequence
        self.next_sequence = first_sequence
        self.size_bytes = HEADER_BYTES
        self.opened_s = time.monotonic()
        self._descriptor: int | None = descriptor

    @classmethod
    def prepare(cls, folder: Path, first_sequence: int) -> Segment:
        """A whole, synced segment that does not have its name yet; `publish` gives it that.

        Raises OSError, and then the folder is as it was.
        """
        path = folder / file_name(first_sequence)
        aside = path.with_name(path.name + ASIDE_SUFFIX)
        descriptor = os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, header(first_sequence))
            os.fdatasync(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor, first_sequence)

    def publish(self) -> None:
        """Make the segment appear in the folder, durably.

        From the first moment of this call on, nothing may be appended to the segment before
        it: where this one exists, that one ends. Raises OSError, and then it may exist or not.

        A file of the same name is replaced. There can only be one when nothing was ever made
        durable in it, or the next sequence would be another.
        """
        try:
            self.path.with_name(self.path.name + ASIDE_SUFFIX).rename(self.path)
            sync_folder(self.path.parent)
        except OSError:
            self.close()
            raise

    def append(self, records: Sequence[bytes]) -> None:
        """Make a group of records durable with one write and one sync.

        Raises OSError when that failed; the segment takes no further records then, and which
        of these reached the disk is unknown.
        """
        first = self.next_sequence
        group = b"".join(frame(record, sequence=first + place, place=place) for place, record in enumerate(records))
        self._write_and_sync(group)
        self.next_sequence += len(records)
        self.size_bytes += len(group)

    def seal(self) -> None:
        """State that nothing follows, and close. Raises OSError; the records are durable all the same."""
        self._write_and_sync(seal(self.next_sequence))
        self.close()

    def close(self) -> None:
        """Let go of the file; what was appended is durable already."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _write_and_sync(self, content: bytes) -> None:
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the segment is closed", str(self.path))
        try:
            _write_all(self._descriptor, content)
            os.fdatasync(self._descriptor)
        except OSError as error:
            self.close()
            raise OSError(error.errno, error.strerror, str(self.path)) from error


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame, its checksum right."""

    sequence: int
    place: int
    record: bytes  # empty in a seal
    end: int  # offset of the byte after it

    @property
    def is_seal(self) -> bool:
        return not self.record

    @property
    def durable_before(self) -> int:
        """Every record with a smaller sequence was on disk when this one was written."""
        return self.sequence - self.place


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stretch of a segment that holds no valid frame."""

    offset: int
    size_bytes: int


def read_segment(path: Path, *, expected: int, offset: int = HEADER_BYTES) -> Generator[Frame | Unreadable, None, None]:
    """Every whole frame from `offset` on, in order, and what lies unreadable between them.

    expected: the sequence that the frame at `offset` has. The file may grow meanwhile; a
    frame that is still being written looks unreadable, so a reader of a live segment stops
    at the last durable sequence. Raises OSError when the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        window = _Window(descriptor)
        bad_from: int | None = None
        while offset < window.size_bytes:
            lost_max = 0 if bad_from is None else (offset - bad_from) // FRAME_HEADER_BYTES
            found = window.frame(offset)
            if found is None or not expected <= found.sequence <= expected + lost_max:
                bad_from = offset if bad_from is None else bad_from
                offset = window.find_marker(offset + 1)
                continue
            if bad_from is not None:
                yield Unreadable(bad_from, offset - bad_from)
                bad_from = None
            yield found
            offset, expected = found.end, found.sequence + (not found.is_seal)
        if bad_from is not None:
            yield Unreadable(bad_from, window.size_bytes - bad_from)
    finally:
        os.close(descriptor)


def header_sequence(path: Path) -> int | None:
    """What the header states as the first sequence; None when it is damaged.

    Raises OSError, and JournalFormatError for another version's file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return first_sequence_of(_read(descriptor, HEADER_BYTES, 0), path)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make creations, renames and deletions in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file in one step: after a crash it holds the old content or the new, whole.

    Raises OSError, and then the old content stands (or, after a failed folder sync, either).
    """
    aside = path.with_name(path.name + ASIDE_SUFFIX)
    descriptor = os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.rename(path)
    sync_folder(path.parent)


class _Window:
    """Reads a file piece by piece, so that small frames do not cost a system call each."""

    def __init__(self, descriptor: int) -> None:
        self.size_bytes = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._start = 0
        self._content = b""

    def frame(self, offset: int) -> Frame | None:
        """The valid frame that begins here, or None."""
        head = frame_header(self._at(offset, FRAME_HEADER_BYTES))
        end = offset + FRAME_HEADER_BYTES + (head.length if head else 0)
        if head is None or end > self.size_bytes:
            return None
        record = self._at(offset + FRAME_HEADER_BYTES, head.length)
        if len(record) != head.length or not head.matches(record):
            return None
        return Frame(head.sequence, head.place, record, end)

    def find_marker(self, offset: int) -> int:
        """Where the next marker begins; the end of the file when there is none."""
        while offset < self.size_bytes:
            piece = self._at(offset, min(_WINDOW_BYTES, self.size_bytes - offset))
            found = piece.find(MARKER)
            if found >= 0:
                return offset + found
            offset += max(1, len(piece) - len(MARKER) + 1)
        return self.size_bytes

    def _at(self, offset: int, count: int) -> bytes:
        skip = offset - self._start
        if skip < 0 or skip + count > len(self._content):
            self._start, skip = offset, 0
            self._content = _read(self._descriptor, max(count, _WINDOW_BYTES), offset)
        return self._content[skip : skip + count]


def _read(descriptor: int, count: int, offset: int) -> bytes:
    """Up to `count` bytes; blocks that the disk cannot give read as zeros, which no checksum accepts."""
    try:
        return os.pread(descriptor, count, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    pieces = []
    end = min(offset + count, os.fstat(descriptor).st_size)
    while offset < end:
        size = min(_BLOCK_BYTES - offset % _BLOCK_BYTES, end - offset)
        try:
            pieces.append(os.pread(descriptor, size, offset))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            pieces.append(bytes(size))
        offset += size
    return b"".join(pieces)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
