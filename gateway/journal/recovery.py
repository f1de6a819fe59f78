"""What a folder holds when a journal is opened, after a crash or not.

Opening changes no segment. Whatever a crash left behind the last whole frame of the last
segment stays where it is; the journal goes on in a new segment, whose first sequence says
where the old one ends. So recovery can itself be killed at any moment and run again.

Only the last segment is read here, to find where it ends. Earlier ones are checked while
they are shipped: opening takes the same time after a day's backlog as after a minute's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.journal.cursor import read_cursor
from gateway.journal.damage import Finding, Inspection
from gateway.journal.format import sequence_in_name
from gateway.journal.segment import ASIDE_SUFFIX, header_sequence, read_segment


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment and the sequences that it holds."""

    path: Path
    first_sequence: int
    next_sequence: int  # where the segment after it begins
    size_bytes: int
    growing: bool = False  # the one that is being written


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a journal goes on."""

    segments: tuple[Stored, ...]  # oldest first; only those that hold records
    next_sequence: int
    cursor: int  # the first record that the console has not confirmed
    findings: tuple[Finding, ...]  # in the last segment


def recover(folder: Path) -> Recovered:
    """Find where a journal ends. Nobody else may have it open.

    Raises OSError when the folder cannot be read, JournalFormatError for another version's segment.
    """
    for leftover in folder.glob(f"*{ASIDE_SUFFIX}"):
        leftover.unlink()
    found = sorted((in_name, path) for path in folder.iterdir() if (in_name := sequence_in_name(path)) is not None)
    firsts = [header_sequence(path) or in_name for in_name, path in found]  # a damaged header is not needed to read on
    next_sequence = read_cursor(folder)
    findings: tuple[Finding, ...] = ()
    if found:
        end, findings = _inspect(found[-1][1], firsts[-1])
        next_sequence = max(next_sequence, end)
        with suppress(OSError):
            _sync(found[-1][1])
    ends = [*firsts, next_sequence][1:]
    segments = tuple(
        Stored(path, first, end, path.stat().st_size)
        for (_, path), first, end in zip(found, firsts, ends, strict=True)
        if first < end
    )
    # With a full disk, shipped segments are deleted although the cursor could not be written.
    oldest = segments[0].first_sequence if segments else next_sequence
    return Recovered(segments, next_sequence, max(read_cursor(folder), oldest), findings)


def _inspect(path: Path, first_sequence: int) -> tuple[int, tuple[Finding, ...]]:
    inspection = Inspection(path.name, first_sequence)
    for piece in read_segment(path, expected=first_sequence):
        inspection.see(piece)
    return inspection.expected, inspection.findings(inspection.expected)


def _sync(path: Path) -> None:
    """Records that are whole but that nobody was told about count from now on, so make them durable.

    A failure loses none that was acknowledged: those were synced by whoever acknowledged them.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
