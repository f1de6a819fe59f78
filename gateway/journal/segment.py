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
from contextlib import suppress
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
from gateway.journal.refusals import BLOCK_BYTES, WHOLE_FILE, Forgo, is_refusal, nothing
from protos.durable import sync_folder

ASIDE_SUFFIX: Final = ".aside"
_WINDOW_BYTES: Final = 256 * 1024


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
    """A stretch of a segment in which no valid frame was found."""

    offset: int
    size_bytes: int
    refused: bool  # True: the disk did not give some of it. False: it gave bytes that are no frame


def read_segment(
    path: Path, *, expected: int, offset: int = HEADER_BYTES, forgo: Forgo = nothing
) -> Generator[Frame | Unreadable, None, None]:
    """Every whole frame from `offset` on, in order, and what lies unreadable between them.

    expected: the sequence that the frame at `offset` has. The file may grow meanwhile; a
    frame that is still being written looks unreadable, so a reader of a live segment stops
    at the last durable sequence. Raises OSError when the file cannot be opened, and where the
    disk refuses a block that `forgo` does not go on without; what lies before it was given.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if not is_refusal(error) or WHOLE_FILE not in forgo((WHOLE_FILE,)):
            raise
        yield Unreadable(offset, max(0, size_of(path) - offset), refused=True)
        return
    try:
        window = _Window(descriptor, path, forgo)
        bad_from: int | None = None
        while offset < window.size_bytes:
            lost_max = 0 if bad_from is None else (offset - bad_from) // FRAME_HEADER_BYTES
            found = window.frame(offset)
            if found is None or not expected <= found.sequence <= expected + lost_max:
                bad_from = offset if bad_from is None else bad_from
                offset = window.find_marker(offset + 1)
                continue
            if bad_from is not None:
                yield Unreadable(bad_from, offset - bad_from, window.refused(bad_from, offset))
                bad_from = None
            yield found
            offset, expected = found.end, found.sequence + (not found.is_seal)
        if bad_from is not None:
            end = window.size_bytes
            yield Unreadable(bad_from, end - bad_from, window.refused(bad_from, end))
    finally:
        os.close(descriptor)


def header_sequence(path: Path) -> int | None:
    """What the header states as the first sequence; None when it is damaged or the disk refuses it.

    Raises OSError, and JournalFormatError for another version's file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            raw = os.pread(descriptor, HEADER_BYTES, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not is_refusal(error):
            raise
        return None
    return first_sequence_of(raw, path)


def size_of(path: Path) -> int:
    """The size of a segment in bytes; 0 when the disk refuses to say. Raises OSError."""
    try:
        return path.stat().st_size
    except OSError as error:
        if not is_refusal(error):
            raise
        return 0


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file in one step: after a crash it holds the old content or the new, whole.

    Raises OSError, and then the old content stands (or, after a failed folder sync, either) and none of the new.
    """
    aside = path.with_name(path.name + ASIDE_SUFFIX)
    try:
        descriptor = os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.rename(path)
    except OSError:
        with suppress(OSError):  # half of it takes room on a full disk, and may be somebody's
            aside.unlink()
        raise
    sync_folder(path.parent)


class _Window:
    """Reads a file piece by piece, so that small frames do not cost a system call each."""

    def __init__(self, descriptor: int, path: Path, forgo: Forgo) -> None:
        self.size_bytes = os.lseek(descriptor, 0, os.SEEK_END)  # asks no disk
        self._descriptor = descriptor
        self._path = path
        self._forgo = forgo
        self._zeros: set[int] = set()  # offsets of the blocks that were gone on without
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

    def refused(self, start: int, end: int) -> bool:
        """Whether something between these offsets was gone on without."""
        return any(start - BLOCK_BYTES < block < end for block in self._zeros)

    def _at(self, offset: int, count: int) -> bytes:
        skip = offset - self._start
        if skip < 0 or skip + count > len(self._content):
            self._start, skip = offset, 0
            self._content = self._read(offset, count)
        return self._content[skip : skip + count]

    def _read(self, offset: int, needed: int) -> bytes:
        """At least `needed` bytes, or all to the end of the file, and of a window what the disk gives."""
        count = max(needed, _WINDOW_BYTES)
        try:
            content = os.pread(self._descriptor, count, offset)
        except OSError as error:
            if not is_refusal(error):
                raise
            content = b""
        if len(content) >= min(needed, self.size_bytes - offset):
            return content
        # Also a read that ends early: the kernel gives what stands before a block that the disk refuses.
        return self._read_blocks(offset, min(offset + count, self.size_bytes), offset + needed)

    def _read_blocks(self, start: int, end: int, needed_end: int) -> bytes:
        """The bytes before the first refused block that is not needed; those gone on without are zeros.

        No checksum takes zeros. Raises OSError when a block is needed that `forgo` does not go on without.
        """
        pieces: dict[int, bytes] = {}  # by the block's offset
        refused: dict[int, OSError] = {}
        for block in range(start - start % BLOCK_BYTES, end, BLOCK_BYTES):
            offset, block_end = max(block, start), min(block + BLOCK_BYTES, end)
            try:
                pieces[block] = os.pread(self._descriptor, block_end - offset, offset)
            except OSError as error:
                if not is_refusal(error):
                    raise
                refused[block] = error
                pieces[block] = bytes(block_end - offset)
        forgone = self._forgo(refused) if any(block < needed_end for block in refused) else ()
        for block, refusal in refused.items():
            if block in forgone:
                self._zeros.add(block)
            elif block < needed_end:
                raise OSError(refusal.errno, refusal.strerror, str(self._path)) from refusal
            else:
                return b"".join(piece for other, piece in pieces.items() if other < block)
        return b"".join(pieces.values())


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
