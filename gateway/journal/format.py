"""The journal's bytes on disk.

A journal is a folder. Each of its segments is one append-only file, named after the
sequence of its first record: `00000000000000000007.journal`. All integers are
little-endian and unsigned.

    segment  = header frame*
    header   = magic            8 bytes   89 41 4d 4a 0d 0a 1a 0a  ("\\x89AMJ\\r\\n\\x1a\\n")
               version          2 bytes   1
               header length    2 bytes   24
               first sequence   8 bytes   of the first frame; the file's name says the same
               checksum         4 bytes   CRC32C of the 20 bytes before it
    frame    = marker           4 bytes   f7 a5 ff 4a; f7 and ff never occur in UTF-8 text
               length           4 bytes   of the record, 1 to 16 MiB; 0 in a seal
               sequence         8 bytes   one more than the frame before
               place            4 bytes   in its group, from 0
               checksum         4 bytes   CRC32C of length, sequence, place and record
               record           `length` bytes, a serialised amulet.events.v1.Event

Records that were made durable by one and the same fdatasync are a group. A seal is the
last frame of a segment that was closed in order: no record, place 0, and the sequence that
the next record would have had.

Worked example: a segment that starts with record 7, and in it the record "hi", alone in
its group:

    00  89 41 4d 4a 0d 0a 1a 0a  01 00  18 00              magic, version 1, 24 bytes
    0c  07 00 00 00 00 00 00 00  82 62 28 08               first sequence 7, checksum
    18  f7 a5 ff 4a  02 00 00 00  07 00 00 00 00 00 00 00  marker, length 2, sequence 7
    28  00 00 00 00  41 bb f3 7a  68 69                    place 0, checksum, "hi"

What a reader may conclude
--------------------------
A group is written only after the one before it is on disk, so a frame with sequence s and
place p says: every record before s - p was durable when I was written. From that:

- Bytes that hold no valid frame, with no valid frame behind them, in a segment without a
  seal, are a *torn tail*: a write that a crash cut short. Nobody was told that it was
  durable. They are passed over, and the next segment takes up their sequences.
- Bytes that hold no valid frame, with a valid frame of a *later* group behind them, are
  *damage*: durable records can no longer be read. It is reported, and reading goes on at
  the next valid frame, which the marker makes quick to find.
- The same, but with frames of the *same* group only behind them, can be either (a disk may
  keep the second half of a write and lose the first). What is readable is kept, and the
  hole is reported as doubtful.
- A frame whose sequence is not below the first sequence of the next segment was never
  acknowledged: its file failed under it, and the next segment took its number.
- A segment whose first sequence is a multiple of 2**32 follows one that the disk did not let
  anybody read to its end when the journal was opened. How many records that one holds is not
  known, but no segment holds so many that one of them could have this sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

import google_crc32c

from gateway.journal.errors import JournalFormatError

MAGIC: Final = b"\x89AMJ\r\n\x1a\n"
VERSION: Final = 1
MARKER: Final = b"\xf7\xa5\xffJ"
SUFFIX: Final = ".journal"
REFUSED_SUFFIX: Final = ".jsonl"
RECORD_BYTES_MAX: Final = 16 * 2**20  # eight views with sealed photographs take about 2 MiB
SEQUENCE_END: Final = 2**63  # no journal gets there; a file whose name says so is none of ours
_LEAP: Final = 2**32  # more records than one segment holds: as many of the smallest take 107 GB

_HEADER: Final = Struct("<8sHHQ")
_CHECKSUM: Final = Struct("<I")
_CHECKED: Final = Struct("<IQI")  # length, sequence, place
HEADER_BYTES: Final = _HEADER.size + _CHECKSUM.size
FRAME_HEADER_BYTES: Final = len(MARKER) + _CHECKED.size + _CHECKSUM.size
FRAME_BYTES_MIN: Final = FRAME_HEADER_BYTES + 1  # of a frame with a record


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The first bytes of a frame, not yet checked against its checksum."""

    length: int
    sequence: int
    place: int
    checksum: int
    checked: bytes  # what the checksum covers before the record

    def matches(self, record: bytes | memoryview) -> bool:
        """Whether this is the record that the frame was written with."""
        return _crc32c(self.checked, record) == self.checksum


def header(first_sequence: int) -> bytes:
    """The header of a segment whose first record will have this sequence."""
    body = _HEADER.pack(MAGIC, VERSION, HEADER_BYTES, first_sequence)
    return body + _CHECKSUM.pack(_crc32c(body))


def first_sequence_of(raw: bytes, path: Path) -> int | None:
    """The first sequence that a segment's header states, or None when the header is damaged.

    raw: the first HEADER_BYTES of the file, or fewer when it is shorter.
    Raises JournalFormatError when the header is whole but of a version unknown here.
    """
    if len(raw) < HEADER_BYTES or _crc32c(raw[: _HEADER.size]) != _CHECKSUM.unpack_from(raw, _HEADER.size)[0]:
        return None
    magic, version, header_bytes, first_sequence = _HEADER.unpack_from(raw)
    if magic != MAGIC:
        return None
    if version != VERSION or header_bytes != HEADER_BYTES:
        raise JournalFormatError(
            f"{path} is a journal segment of version {version}; this gateway reads version {VERSION}: "
            "start the version that wrote it once more, so that it delivers what is in it"
        )
    assert isinstance(first_sequence, int)
    return first_sequence


def frame(record: bytes, *, sequence: int, place: int) -> bytes:
    """One record as it stands on disk."""
    checked = _CHECKED.pack(len(record), sequence, place)
    return b"".join((MARKER, checked, _CHECKSUM.pack(_crc32c(checked, record)), record))


def seal(next_sequence: int) -> bytes:
    """The last frame of a segment that is closed in order."""
    return frame(b"", sequence=next_sequence, place=0)


def frame_header(raw: bytes | memoryview) -> FrameHeader | None:
    """Read a frame's first FRAME_HEADER_BYTES; None when no frame can start like this."""
    if len(raw) < FRAME_HEADER_BYTES or raw[: len(MARKER)] != MARKER:
        return None
    checked = bytes(raw[len(MARKER) : len(MARKER) + _CHECKED.size])
    length, sequence, place = _CHECKED.unpack(checked)
    if length > RECORD_BYTES_MAX or place > sequence:
        return None
    (checksum,) = _CHECKSUM.unpack_from(raw, len(MARKER) + _CHECKED.size)
    return FrameHeader(length, sequence, place, checksum, checked)


def leap_from(sequence: int) -> int:
    """A first sequence beyond any that the segment in which `sequence` stands can hold."""
    return (sequence // _LEAP + 2) * _LEAP


def is_leap(sequence: int) -> bool:
    """Whether a segment with this first sequence follows one whose end was not known."""
    return sequence % _LEAP == 0


def file_name(first_sequence: int) -> str:
    """Twenty digits, so that names sort as their sequences do."""
    return f"{first_sequence:020d}{SUFFIX}"


def sequence_in_name(path: Path) -> int | None:
    """The first sequence that a segment's name states; None for a file that is no segment."""
    return _sequence_of(path.stem) if path.suffix == SUFFIX else None


def refused_name(last_sequence: int) -> str:
    """Of a file with refused events, by the last of them."""
    return f"{last_sequence:020d}{REFUSED_SUFFIX}"


def last_sequence_in_name(path: Path) -> int | None:
    """The sequence of the last refused event in a file; None for a file that no delivery made."""
    return _sequence_of(path.stem) if path.suffix == REFUSED_SUFFIX else None


def _sequence_of(digits: str) -> int | None:
    sequence = int(digits) if len(digits) == 20 and digits.isascii() and digits.isdigit() else SEQUENCE_END
    return sequence if sequence < SEQUENCE_END else None


def _crc32c(*parts: bytes | memoryview) -> int:
    checksum = 0
    for part in parts:
        checksum = google_crc32c.extend(checksum, bytes(part) if isinstance(part, memoryview) else part)
    return int(checksum)
