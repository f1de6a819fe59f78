"""The one thread that touches the disk: groups what waits, writes it, syncs it, answers.

While one group is being synced the next one collects, so the size of a group follows the
load without a timer. The thread also does what needs no caller: it watches the free space,
rotates, and tries again after the disk has failed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gateway.journal.errors import JournalError, JournalFull, JournalUnavailable
from gateway.journal.recovery import Recovered, Stored
from gateway.journal.segment import Segment

_log = logging.getLogger(__name__)
MIB: Final = 2**20
_IDLE_S: Final = 0.25  # how soon room on the disk, or a disk that works again, is noticed


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Where the journal lives and what bounds it."""

    folder: Path
    free_bytes_min: int = 256 * MIB  # no record is taken when less than this would be left on the disk
    segment_bytes_max: int = 64 * MIB
    segment_age_s_max: float = 300.0  # a record that was delivered stays about this long at most
    waiting_records_max: int = 10_000
    waiting_bytes_max: int = 64 * MIB
    group_bytes_max: int = 4 * MIB


@dataclass(frozen=True, slots=True)
class Ticket:
    """A record that waits for the disk, and whoever waits for it."""

    record: bytes
    durable: asyncio.Future[int]


Settle = Callable[[Sequence[Ticket], int | JournalError], None]


class Writer:
    """Owns the open segment. Every method may be called from any thread."""

    def __init__(self, settings: JournalSettings, recovered: Recovered, settle: Settle) -> None:
        """settle: told, from the writer's thread, the first sequence of a durable group or why there is none."""
        self.durable_end = recovered.next_sequence  # every record below it is on disk
        self.failures = 0
        self.free_bytes = 0
        self.warning: str | None = None  # what is wrong although records are taken
        self._settings = settings
        self._settle = settle
        self._segment: Segment | None = None
        self._finished = list(recovered.segments)
        self._refusal: str | None = None
        self._changed = threading.Condition()
        self._queue: list[Ticket] = []
        self._in_hand: list[Ticket] = []
        self._waiting_records = 0
        self._waiting_bytes = 0
        self._stopping = False
        self._retry_rotation_s = 0.0
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)

    @property
    def refusal(self) -> str | None:
        """Why nothing can be made durable at the moment, as a sentence; None when all is well."""
        return self._refusal

    @property
    def waiting_records(self) -> int:
        return self._waiting_records

    def start(self) -> None:
        """Open the first segment, or be ready to say why there is none; then begin to serve."""
        self._watch_disk()
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more, finish what waits, and end. Blocks until then."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, ticket: Ticket) -> None:
        """Hand over a record. Raises JournalFull or JournalUnavailable at once rather than wait."""
        with self._changed:
            if self._refusal is not None:
                raise JournalUnavailable(self._refusal)
            if self._stopping:
                raise JournalUnavailable("the journal is closing: nothing more is written")
            size = len(ticket.record)
            if (
                self._waiting_records >= self._settings.waiting_records_max
                or self._waiting_bytes + size > self._settings.waiting_bytes_max
            ):
                raise JournalFull(
                    f"{self._waiting_records} records ({self._waiting_bytes // 1024} KiB) wait for the disk: "
                    "it is slower than the load"
                )
            self._waiting_records += 1
            self._waiting_bytes += size
            self._queue.append(ticket)
            if len(self._queue) == 1:
                self._changed.notify()

    def segments(self) -> tuple[Stored, ...]:
        """Every segment that holds durable records, oldest first."""
        with self._changed:
            segment = self._segment
            if segment is None or self.durable_end == segment.first_sequence:
                return tuple(self._finished)
            return (*self._finished, replace(_stored(segment, self.durable_end), growing=True))

    def finished_before(self, sequence: int) -> tuple[Stored, ...]:
        """The segments that are no longer written and hold nothing from `sequence` on."""
        with self._changed:
            return tuple(stored for stored in self._finished if stored.next_sequence <= sequence)

    def forget(self, gone: Stored) -> None:
        """Its file has been removed."""
        with self._changed:
            self._finished.remove(gone)

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            _log.exception("the journal's writer ended")
            self._refusal = f"the journal's writer ended with {type(error).__name__}: restart the gateway"
        finally:
            with self._changed:
                self._stopping = True
                abandoned = self._in_hand + self._queue
                self._in_hand, self._queue = [], []
            if abandoned:
                self._settle(abandoned, JournalUnavailable(self._refusal or "the journal is closed"))

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue) or self._stopping, timeout=_IDLE_S)
                self._in_hand, self._queue = self._queue, []
                stopping = self._stopping
            if stopping and not self._in_hand:
                break
            self._watch_disk()
            for group in _groups(self._in_hand, self._settings.group_bytes_max):
                self._commit(group)
                self._watch_disk()
            self._in_hand = []
            self._rotate_if_due()
        if self._segment is not None:
            with suppress(OSError):  # everything in it is durable; a seal only helps to judge later damage
                self._segment.seal()

    def _commit(self, group: Sequence[Ticket]) -> None:
        first = self.durable_end
        outcome: int | JournalError = first
        if self._segment is None or self._refusal is not None:
            outcome = JournalUnavailable(self._refusal or "the journal has no open segment")
        else:
            try:
                self._segment.append([ticket.record for ticket in group])
            except OSError as error:
                outcome = JournalUnavailable(f"the journal could not be written: {error.strerror} ({error.filename})")
                self._abandon_segment(str(outcome))
            else:
                self.durable_end = first + len(group)
        with self._changed:
            self._waiting_records -= len(group)
            self._waiting_bytes -= sum(len(ticket.record) for ticket in group)
        self._settle(group, outcome)

    def _abandon_segment(self, why: str) -> None:
        """The file failed: it gets no second sync. What is durable in it stays; the rest was never acknowledged."""
        self.failures += 1
        _log.error("%s; a new segment is opened", why)
        self._retire()
        self._refusal = why
        self._watch_disk()

    def _watch_disk(self) -> None:
        """Decide whether records can be taken: enough room, and an open segment."""
        try:
            self.free_bytes = free_bytes(self._settings.folder)
            if self.free_bytes < self._settings.free_bytes_min:
                self._refuse(
                    f"the disk of {self._settings.folder} has {self.free_bytes / MIB:.1f} MiB left and "
                    f"{self._settings.free_bytes_min / MIB:.0f} MiB must stay free: make room, or bring the console "
                    "back so that delivered events can be deleted"
                )
                return
            if self._segment is None:
                segment = Segment.prepare(self._settings.folder, self.durable_end)
                segment.publish()
                self._segment = segment
        except OSError as error:
            self._refuse(f"no journal segment can be opened: {error.strerror} ({error.filename})")
            return
        if self._refusal is not None:
            _log.warning("the journal takes records again")
            self._refusal = None

    def _refuse(self, why: str) -> None:
        if self._refusal is None:
            _log.error("the journal takes no records: %s", why)
        self._refusal = why

    def _warn(self, what: str) -> None:
        if self.warning is None:
            _log.warning("%s", what)
        self.warning = what

    def _rotate_if_due(self) -> None:
        segment, now = self._segment, time.monotonic()
        if segment is None or segment.next_sequence == segment.first_sequence or now < self._retry_rotation_s:
            return
        too_old = now - segment.opened_s > self._settings.segment_age_s_max
        too_large = segment.size_bytes >= self._settings.segment_bytes_max
        # With no room left, what is delivered of the open segment can only be deleted after it.
        if not (too_old or too_large or self._refusal is not None):
            return
        try:
            following = Segment.prepare(self._settings.folder, self.durable_end)
        except OSError as error:
            # The old segment is sound and goes on; only its size exceeds what was asked for.
            self._warn(
                f"no new journal segment can be opened, the old one goes on: {error.strerror} ({error.filename})"
            )
            self._retry_rotation_s = now + _IDLE_S
            return
        self.warning = None
        with suppress(OSError):
            segment.seal()
        # Whether or not the next segment appears now, this one has ended: a reader that finds
        # the next one takes its first sequence for the end of this one.
        self._retire()
        try:
            following.publish()
        except OSError as error:
            self._refuse(f"no journal segment can be opened: {error.strerror} ({error.filename})")
            return
        self._segment = following

    def _retire(self) -> None:
        """Let go of the open segment; what is durable in it stays readable."""
        segment = self._segment
        if segment is None:
            return
        with self._changed:
            self._segment = None
            if segment.next_sequence > segment.first_sequence:
                self._finished.append(_stored(segment, segment.next_sequence))
        segment.close()


def _stored(segment: Segment, end: int) -> Stored:
    return Stored(segment.path, segment.first_sequence, end, segment.size_bytes)


def free_bytes(folder: Path) -> int:
    """Room on the folder's disk for processes without privileges."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def _groups(queue: Sequence[Ticket], bytes_max: int) -> Iterator[Sequence[Ticket]]:
    """Cut what waits into groups of at most `bytes_max`, or of one record that is larger."""
    start = size = 0
    for index, ticket in enumerate(queue):
        if index > start and size + len(ticket.record) > bytes_max:
            yield queue[start:index]
            start, size = index, 0
        size += len(ticket.record)
    if start < len(queue):
        yield queue[start:]
