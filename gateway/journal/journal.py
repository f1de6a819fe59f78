"""The journal as the gateway's event loop sees it.

`append` returns when the record is on disk. It refuses at once when that cannot be: when
too much waits already (JournalFull) or when the disk is full or broken
(JournalUnavailable). A refusal is not for ever: the writer goes on in a new segment as soon
as there is one, without a restart, and `health` says what is wrong until then.

The bytes on disk are described in format.py.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from gateway.journal.cursor import write_cursor
from gateway.journal.damage import Finding
from gateway.journal.errors import JournalError, JournalLocked
from gateway.journal.format import RECORD_BYTES_MAX
from gateway.journal.recovery import DAMAGED_FOLDER, Recovered, Stored, recover
from gateway.journal.writer import JournalSettings, Ticket, Writer
from protos.durable import sync_folder

_log = logging.getLogger(__name__)
LOCK_NAME: Final = "lock"


class JournalStatus(StrEnum):
    OPEN = "open"
    REFUSING = "refusing"  # the disk is full or broken; it is tried again several times a second
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """What an operator needs to know, at one moment."""

    status: JournalStatus
    sentence: str
    free_bytes: int
    waiting_records: int
    backlog_records: int  # durable, not yet confirmed by the console; of what the disk refuses, what it has room for
    backlog_bytes: int  # size of the files that hold them
    failures: int  # writes and syncs that failed since the start
    findings: tuple[Finding, ...]  # torn tails and damage met since the start

    @property
    def admitting(self) -> bool:
        return self.status is JournalStatus.OPEN


class Journal:
    """One folder of segments, open for appending and for delivery by one process."""

    def __init__(self, settings: JournalSettings, recovered: Recovered, lock: _Lock) -> None:
        """Use `Journal.open`."""
        self._settings = settings
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._grew = asyncio.Event()
        self._findings = recovered.findings
        self._damaged: frozenset[Path] = frozenset()
        self._cursor = recovered.cursor
        self._writer = Writer(settings, recovered, self._settle_from_writer)
        self._closed = False

    @classmethod
    async def open(cls, settings: JournalSettings) -> Self:
        """Take the folder, find where its journal ends, and be ready to append.

        A disk that is full or broken does not stop this: the journal then opens refusing, and
        takes records when it can. Nor does one that refuses to read what is in the segments.
        Raises JournalLocked when another process has the folder, JournalFormatError for another
        version's files, OSError when the folder cannot be read.
        """
        lock = await asyncio.to_thread(_Lock.take, settings.folder)
        try:
            recovered = await asyncio.to_thread(recover, settings.folder)
            for finding in recovered.findings:
                _log.warning("journal: %s", finding.sentence)
            journal = cls(settings, recovered, lock)
            await asyncio.to_thread(journal._writer.start)
        except BaseException:
            lock.release()
            raise
        return journal

    async def append(self, record: bytes) -> int:
        """Return the record's sequence when it is on disk.

        A caller that is cancelled while it waits leaves the others alone; its own record may
        or may not become durable. Raises ValueError for an empty record or one above
        RECORD_BYTES_MAX, JournalFull and JournalUnavailable as refusals.
        """
        if not 0 < len(record) <= RECORD_BYTES_MAX:
            raise ValueError(f"a record has 1 to {RECORD_BYTES_MAX} bytes, not {len(record)}")
        durable: asyncio.Future[int] = self._loop.create_future()
        self._writer.submit(Ticket(record, durable))
        return await durable

    def health(self) -> JournalHealth:
        """The state now; does not touch the disk."""
        refusal = self._writer.refusal
        if self._closed:
            status, sentence = JournalStatus.CLOSED, "the journal is closed"
        elif refusal is not None:
            status, sentence = JournalStatus.REFUSING, refusal
        else:
            status, sentence = JournalStatus.OPEN, self._writer.warning or "every answer is on disk before it leaves"
        findings = self._findings
        lost = sum(finding.records_lost for finding in findings if finding.acknowledged)
        if lost:
            up_to = "up to " * any(finding.at_most for finding in findings)
            sentence += f"; {up_to}{lost} durable record(s) are damaged, their segments are kept in {DAMAGED_FOLDER}/"
        segments = self.segments()
        there = {stored.path.name for stored in segments}
        for finding in findings:
            if finding.may_come_back and finding.segment in there:
                sentence += f"; {finding.sentence}"
        return JournalHealth(
            status=status,
            sentence=sentence,
            free_bytes=self._writer.free_bytes,
            waiting_records=self._writer.waiting_records,
            backlog_records=sum(stored.records_from(self._cursor) for stored in segments),
            backlog_bytes=sum(stored.size_bytes for stored in segments if stored.next_sequence > self._cursor),
            failures=self._writer.failures,
            findings=findings,
        )

    async def close(self) -> None:
        """Refuse new records, finish those that wait, seal the segment, let go of the folder."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._finish)

    # What the shipper needs.

    @property
    def folder(self) -> Path:
        return self._settings.folder

    @property
    def cursor(self) -> int:
        """Sequence of the first record that the console has not confirmed."""
        return self._cursor

    @property
    def durable_end(self) -> int:
        """Every record with a smaller sequence is on disk."""
        return self._writer.durable_end

    def segments(self) -> tuple[Stored, ...]:
        """Every segment that holds durable records, oldest first, the open one last."""
        return self._writer.segments()

    async def wait_beyond(self, sequence: int) -> None:
        """Return when a record with this sequence, or a later one, is durable."""
        while self.durable_end <= sequence:
            self._grew.clear()
            await self._grew.wait()

    def report(self, findings: Sequence[Finding]) -> None:
        """Take note of damage met while reading; its segment will be kept aside, not deleted.

        The last segment's may be known from the start: it is counted once, and as it was judged last.
        """
        known = {(finding.segment, finding.offset): finding for finding in self._findings}
        for finding in findings:
            if known.get((finding.segment, finding.offset)) != finding:
                _log.error("journal: %s", finding.sentence)
            known[finding.segment, finding.offset] = finding
        self._findings = tuple(known.values())
        self._damaged |= {self._settings.folder / finding.segment for finding in findings}

    def advance(self, cursor: int) -> None:
        """The console has confirmed everything before `cursor`: remember it, delete segments that are done with.

        Blocks on the disk. Raises OSError when the cursor could not be written. Segments are
        deleted all the same: their room may be what the cursor lacks, and the oldest segment
        that is left says as much as a cursor would.
        """
        self._cursor = max(cursor, self._cursor)
        try:
            write_cursor(self._settings.folder, self._cursor)
        finally:
            self.sweep()

    def sweep(self) -> None:
        """Delete the segments of which every record is confirmed; damaged ones are kept aside. Blocks on the disk."""
        for stored in self._writer.finished_before(self._cursor):
            if stored.path in self._damaged:
                aside = self._settings.folder / DAMAGED_FOLDER
                aside.mkdir(exist_ok=True)
                with suppress(FileNotFoundError):  # moved by hand
                    stored.path.rename(aside / stored.path.name)
                sync_folder(aside)
            else:
                stored.path.unlink(missing_ok=True)
            self._writer.forget(stored)

    def _finish(self) -> None:
        """In a thread of its own, so that a cancelled `close` still lets go of the folder only at the end."""
        self._writer.stop()
        self._lock.release()

    def _settle_from_writer(self, group: Sequence[Ticket], outcome: int | JournalError) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, group, outcome)

    def _settle(self, group: Sequence[Ticket], outcome: int | JournalError) -> None:
        for place, ticket in enumerate(group):
            if ticket.durable.done():  # its caller was cancelled; the rest still wait
                continue
            if isinstance(outcome, JournalError):
                ticket.durable.set_exception(type(outcome)(str(outcome)))  # each caller raises its own
            else:
                ticket.durable.set_result(outcome + place)
        self._grew.set()


class _Lock:
    """The folder belongs to one process. The kernel lets go when that process ends, however it ends.

    A record lock: unlike flock it is not inherited by forked children, so a decoder that
    outlives a killed gateway for a moment does not keep the next one out.
    """

    _held: Final[set[tuple[int, int]]] = set()  # a process does not exclude itself from a record lock

    def __init__(self, descriptor: int, identity: tuple[int, int]) -> None:
        self._descriptor = descriptor
        self._identity = identity

    @classmethod
    def take(cls, folder: Path) -> Self:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / LOCK_NAME
        if path.exists() and _identity(path.stat()) in cls._held:  # opening and closing it would let go of the lock
            raise cls._locked(folder, "this one")
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = ""
            with suppress(OSError):
                owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise cls._locked(folder, owner or "unknown") from error
        lock = cls(descriptor, _identity(os.fstat(descriptor)))
        cls._held.add(lock._identity)
        with suppress(OSError):  # on a full disk; the name only helps whoever reads it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return lock

    @staticmethod
    def _locked(folder: Path, owner: str) -> JournalLocked:
        return JournalLocked(
            f"the journal in {folder} belongs to a running gateway (process {owner}): "
            "give each gateway its own AMULET_JOURNAL_DIR, or stop the other one"
        )

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._identity in self._held:
            self._held.discard(self._identity)
            os.close(self._descriptor)


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino
