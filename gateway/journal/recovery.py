"""What a folder holds when a journal is opened, after a crash or not.

Opening changes no segment. Whatever a crash left behind the last whole frame of the last
segment stays where it is; the journal goes on in a new segment, whose first sequence says
where the old one ends. So recovery can itself be killed at any moment and run again.

Only the last segment is read here, to find where it ends. Earlier ones are checked while
they are shipped: opening takes the same time after a day's backlog as after a minute's.

Where the disk refuses the end of the last segment, records may stand there that somebody was told
of. The journal then goes on far beyond any number that they can have, so that they keep theirs and
are delivered when the disk gives them.

Numbers go on above those that stand in the names of what is kept aside, in `rejected/` and `damaged/`: by its
number a refused event is told from one that was kept before, and of two damaged segments with one name the
second would replace the first. Where cursor and segments say less, since somebody took them away, the numbers
leap as well.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gateway.journal.cursor import FIRST_SEQUENCE, read_cursor, write_cursor
from gateway.journal.damage import Finding, Inspection
from gateway.journal.format import FRAME_BYTES_MIN, leap_from, sequence_in_name
from gateway.journal.refusals import everything
from gateway.journal.rejected import REJECTED_FOLDER, last_kept
from gateway.journal.segment import ASIDE_SUFFIX, header_sequence, read_segment, size_of

DAMAGED_FOLDER: Final = "damaged"


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment and the sequences that it holds."""

    path: Path
    first_sequence: int
    next_sequence: int  # where the segment after it begins
    size_bytes: int
    growing: bool = False  # the one that is being written

    def records_from(self, sequence: int) -> int:
        """How many records with this sequence or a later one it holds, or has room for when a leap follows it."""
        end = min(self.next_sequence, self.first_sequence + self.size_bytes // FRAME_BYTES_MIN)
        return max(0, end - max(sequence, self.first_sequence))


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a journal goes on."""

    segments: tuple[Stored, ...]  # oldest first; only those that hold records
    next_sequence: int
    cursor: int  # the first record that the console has not confirmed
    findings: tuple[Finding, ...]  # in the last segment; what the disk refused may still come back


def recover(folder: Path) -> Recovered:
    """Find where a journal ends. Nobody else may have it open.

    Raises OSError when the folder cannot be read, JournalFormatError for another version's segment.
    """
    for leftover in folder.glob(f"*{ASIDE_SUFFIX}"):
        leftover.unlink()
    for leftover in (folder / REJECTED_FOLDER).glob(f"*{ASIDE_SUFFIX}"):  # which no erasure would look into
        leftover.unlink(missing_ok=True)
    found = sorted((in_name, path) for path in folder.iterdir() if (in_name := sequence_in_name(path)) is not None)
    firsts = [header_sequence(path) or in_name for in_name, path in found]  # a damaged header is not needed to read on
    cursor = next_sequence = _cursor(folder, needed=not found)
    findings: tuple[Finding, ...] = ()
    if found:
        end, findings = _inspect(found[-1][1], firsts[-1])
        next_sequence = max(next_sequence, end)
        with suppress(OSError):
            _sync(found[-1][1])
    if (kept := _last_kept(folder)) >= next_sequence:
        next_sequence = leap_from(kept)
    ends = [*firsts, next_sequence][1:]
    segments = tuple(
        Stored(path, first, end, size_of(path))
        for (_, path), first, end in zip(found, firsts, ends, strict=True)
        if first < end
    )
    # With a full disk, shipped segments are deleted although the cursor could not be written.
    oldest = segments[0].first_sequence if segments else next_sequence
    return Recovered(segments, next_sequence, max(cursor, oldest), findings)


def _cursor(folder: Path, *, needed: bool) -> int:
    """needed: no segment is left, so that nothing else says which sequences were used."""
    try:
        return read_cursor(folder)
    except OSError:
        if needed:
            # Should it come back after a later start, records that take its numbers now would count as delivered.
            write_cursor(folder, FIRST_SEQUENCE)
        return FIRST_SEQUENCE


def _last_kept(folder: Path) -> int:
    """The highest sequence that stands in the name of what is kept aside; 0: nothing is. Raises OSError."""
    aside = folder / DAMAGED_FOLDER
    damaged = map(sequence_in_name, aside.iterdir() if aside.is_dir() else ())
    return max(last_kept(folder), *(sequence or 0 for sequence in damaged), 0)


def _inspect(path: Path, first_sequence: int) -> tuple[int, tuple[Finding, ...]]:
    inspection = Inspection(path.name, first_sequence)
    for piece in read_segment(path, expected=first_sequence, forgo=everything):
        inspection.see(piece)
    findings = tuple(
        replace(finding, records_lost=0, acknowledged=False) if finding.refused else finding
        for finding in inspection.findings(inspection.expected)
    )
    return inspection.expected if inspection.end_is_known else leap_from(inspection.expected), findings


def _sync(path: Path) -> None:
    """Records that are whole but that nobody was told about count from now on, so make them durable.

    A failure loses none that was acknowledged: those were synced by whoever acknowledged them.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
