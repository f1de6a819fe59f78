"""What is missing from a segment, and whether anybody had been told that it was durable."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.journal.format import FRAME_BYTES_MIN, is_leap
from gateway.journal.segment import Frame, Unreadable


@dataclass(frozen=True, slots=True)
class Finding:
    """A stretch of a segment that could not be read."""

    segment: str
    offset: int
    size_bytes: int
    first_sequence: int  # of what is missing
    records_lost: int  # 0: nothing is missing but bytes that hold no record
    acknowledged: bool  # True: the records were durable once. False: probably a write that a crash cut short
    refused: bool = False  # the disk gave an error for some of it, not wrong bytes
    at_most: bool = False  # records_lost is as many as the stretch has room for; how many there were is not known

    @property
    def may_come_back(self) -> bool:
        """Whether the disk refused it and nobody has gone on without it yet."""
        return self.refused and not self.records_lost

    @property
    def sentence(self) -> str:
        where = f"{self.size_bytes} bytes at offset {self.offset} of {self.segment}"
        if self.may_come_back:
            return f"{where} are refused by the disk: they are read again before their events are due"
        if not self.records_lost:
            return f"{where} hold no record: a write that was cut short; no durable record is missing"
        which = f"{'up to ' * self.at_most}{self.records_lost} record(s) from sequence {self.first_sequence} on"
        if self.acknowledged:
            how = "refused by the disk" if self.refused else "damaged"
            return f"{where} are {how}: {which} were durable once and cannot be read any more"
        return f"{where} cannot be read: {which}, probably of a write that a crash cut short"


@dataclass(frozen=True, slots=True)
class _Hole:
    stretch: Unreadable
    missing: int
    found: int
    at_most: bool = False


class Inspection:
    """Follows a reader through one segment and judges the holes that it met.

    A hole is damage when a frame of a later group stands behind it: that frame was written
    only after the missing ones were on disk. It is doubtful when only frames of its own
    group follow, and a torn tail when nothing follows.
    """

    def __init__(self, segment: str, first_sequence: int) -> None:
        self.expected = first_sequence
        self._segment = segment
        self._open: Unreadable | None = None
        self._holes: list[_Hole] = []
        self._durable_before = first_sequence
        self._end = 0

    def see(self, piece: Frame | Unreadable) -> None:
        """Take note of the next piece of the segment."""
        if isinstance(piece, Unreadable):
            self._open = piece
            self._end = piece.offset + piece.size_bytes
            return
        if self._open is not None:
            self._holes.append(_Hole(self._open, self.expected, piece.sequence))
            self._open = None
        self.expected = piece.sequence + (not piece.is_seal)
        self._durable_before = max(self._durable_before, piece.durable_before)
        self._end = piece.end

    @property
    def end_is_known(self) -> bool:
        """Whether the disk gave everything behind the last frame that was seen."""
        return self._open is None or not self._open.refused

    def findings(self, end: int, *, durable_before: int = 0) -> tuple[Finding, ...]:
        """Everything missing below `end`, the first sequence of the next segment.

        A journal goes on with the sequence after the last durable one, so what is missing at
        the very end of this segment was durable.

        durable_before: what the caller knows to have been durable, beyond what the frames say.
        """
        durable_before = max(durable_before, self._durable_before)
        findings = [self._finding(hole, durable=hole.missing < durable_before) for hole in self._holes]
        found = max(end, self.expected)
        leap = self.expected < end and is_leap(end)
        if leap:  # what is behind the last frame is as many as it has room for, or a write that was cut short
            room = 0 if self._open is None else self._open.size_bytes // FRAME_BYTES_MIN
            found = self.expected + (0 if self.end_is_known else max(1, room))
        if self._open is not None:
            findings.append(self._finding(_Hole(self._open, self.expected, found, at_most=leap), durable=True))
        elif self.expected < found:
            nothing = Unreadable(self._end, 0, refused=False)
            findings.append(self._finding(_Hole(nothing, self.expected, found), durable=True))
        return tuple(findings)

    def _finding(self, hole: _Hole, *, durable: bool) -> Finding:
        lost = hole.found - hole.missing
        return Finding(
            self._segment,
            hole.stretch.offset,
            hole.stretch.size_bytes,
            hole.missing,
            lost,
            acknowledged=durable and lost > 0,
            refused=hole.stretch.refused,
            at_most=hole.at_most,
        )
