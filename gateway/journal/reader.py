"""Reads durable records in order, over all segments, for the shipper.

Reading never waits for the writer and never sees a record before it is durable. Bytes that
hold no record are passed over and reported; what follows is still read. What the disk refuses is
asked for again, for as long as refusals.py says, and passed over only then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from gateway.journal.damage import Inspection
from gateway.journal.format import HEADER_BYTES
from gateway.journal.journal import Journal
from gateway.journal.recovery import Stored
from gateway.journal.refusals import Patience
from gateway.journal.segment import Frame, Unreadable, read_segment


@dataclass(frozen=True, slots=True)
class Record:
    """One durable record."""

    sequence: int
    content: bytes


class Reader:
    """A place in the journal that moves forward. Blocks on the disk; used by one thread at a time."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._clock = clock
        self._next = journal.cursor
        self._segment: _Segment | None = None

    @property
    def position(self) -> int:
        """The sequence from which the next read goes on."""
        return self._next

    def read(self, *, bytes_max: int, records_max: int) -> list[Record]:
        """The next records, oldest first: none when all durable ones were read.

        At most `records_max`, and `bytes_max` together (or one record that is larger).
        Raises OSError when the very next one cannot be read now; the next call tries again.
        """
        records: list[Record] = []
        try:
            self._read_into(records, bytes_max, records_max)
        except OSError:
            if not records:
                raise
        return records

    def _read_into(self, records: list[Record], bytes_max: int, records_max: int) -> None:
        size_bytes = 0
        for stored in self._journal.segments():
            if stored.next_sequence <= self._next:
                continue
            segment = self._enter(stored)
            for frame in segment.frames(until=stored.next_sequence):
                if frame.sequence >= self._next:
                    if records and size_bytes + len(frame.record) > bytes_max:
                        return
                    records.append(Record(frame.sequence, frame.record))
                    size_bytes += len(frame.record)
                    self._next = frame.sequence + 1
                segment.passed(frame)
                if len(records) >= records_max:
                    break
            self._report(segment, stored)
            if len(records) >= records_max:
                break
            if not stored.growing:
                self._next = stored.next_sequence

    def _enter(self, stored: Stored) -> _Segment:
        if self._segment is None or self._segment.stored.path != stored.path:
            self._segment = _Segment(stored, Patience(self._clock))
        return self._segment

    def _report(self, segment: _Segment, stored: Stored) -> None:
        """Say what is missing as soon as it is sure, and before the segment can be swept away."""
        inspection = segment.inspection
        if stored.growing:  # what this process took for durable was durable
            findings = inspection.findings(inspection.expected, durable_before=stored.next_sequence)
        elif segment.exhausted or inspection.expected >= stored.next_sequence:
            findings = inspection.findings(stored.next_sequence)
        else:
            return
        lost = [finding for finding in findings if finding.records_lost]
        self._journal.report(lost[segment.reported :])
        segment.reported = len(lost)


class _Segment:
    """How far one segment has been read."""

    def __init__(self, stored: Stored, patience: Patience) -> None:
        self.stored = stored
        self._patience = patience
        self.inspection = Inspection(stored.path.name, stored.first_sequence)
        self.exhausted = False
        self.reported = 0
        self._offset = HEADER_BYTES

    def frames(self, *, until: int) -> Iterator[Frame]:
        """The frames from here on that hold a record with a sequence below `until`."""
        self.exhausted = False
        if self.inspection.expected >= until:
            return
        path, expected = self.stored.path, self.inspection.expected
        try:
            with closing(read_segment(path, expected=expected, offset=self._offset, forgo=self._patience)) as pieces:
                for piece in pieces:
                    if isinstance(piece, Unreadable) or piece.is_seal:
                        self.inspection.see(piece)
                    elif piece.sequence < until:
                        yield piece
                    else:
                        break  # never acknowledged: the next segment took its number
                    if self.inspection.expected >= until:
                        return
        except FileNotFoundError:  # removed by hand: what it held is missing
            self.inspection.see(Unreadable(self._offset, max(0, self.stored.size_bytes - self._offset), refused=True))
        self.exhausted = True

    def passed(self, frame: Frame) -> None:
        """The reader took this frame and goes on after it."""
        self.inspection.see(frame)
        self._offset = frame.end
