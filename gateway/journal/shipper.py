"""Takes durable events to the console: at least once, in order, for as long as it takes.

One batch travels at a time, POST {console}/internal/events, EventBatch in gzip. It is
delivered when an EventReceipt accounts for every event in it; anything else, from a
refused connection to a proxy's error page, means that it is sent again. Only then the
cursor moves. Nothing here ever delays an answer of the gateway.

    read ahead ──► send ──► receipt ──► rejected events aside ──► cursor ──► old segments deleted
                    ▲  │
                    └──┘ back-off with jitter, at most about 2 s, so that a console that
                         returns is found soon; the batch halves, so that one event which
                         is too much for the console does not hold up the others

A backlog is delivered beside the calls of now, on processors that the console may share with them. So
while events arrive a quarter of a second passes between two portions, each of as many batches as it
takes. A portion holds four times as many events as arrived since the one before, however large they
are, or a hundred of a megabyte at most, whichever is more: the backlog shrinks three times as fast as
it grew, and not all at once.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Final, TypeVar

import httpx
from google.protobuf.message import DecodeError

from gateway.journal.journal import Journal
from gateway.journal.reader import Reader, Record
from gateway.journal.rejected import RejectedEvent, RejectedEvents
from protos.amulet.events.v1 import events_pb2 as pb

_log = logging.getLogger(__name__)
EVENTS_PATH: Final = "/internal/events"
_PROTOBUF: Final = "application/x-protobuf"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ShipperSettings:
    """Where events go, and how patiently."""

    console_url: str
    token: str = field(repr=False)
    batch_records_max: int = 500
    batch_bytes_max: int = 1024 * 1024  # before compression
    connect_s_max: float = 2.0
    answer_s_max: float = 10.0
    retry_s_min: float = 0.05
    retry_s_max: float = 2.0
    linger_s: float = 0.25  # between two portions, and when everything is delivered, so that a batch can gather
    catch_up_ratio: float = 4.0  # of a backlog a portion takes so many times what arrived since the one before
    catch_up_records_min: int = 100  # and so many at least, unless they are more than a batch in bytes
    sweep_s: float = 1.0  # how often old segments are looked for while there is nothing to deliver


@dataclass(frozen=True, slots=True)
class ShipperState:
    """How delivery stands, for telemetry and health."""

    delivering: bool  # the last attempt succeeded, or there was none yet
    sentence: str
    backlog_records: int
    backlog_bytes: int
    backlog_s: float  # age of the oldest event that is not delivered, by either clock; 0 when there is none
    delivered: int  # since the start, those that the console knew before included
    known_before: int
    rejected: int  # kept aside in the folder, earlier starts included
    failures: int  # attempts since the start that delivered nothing


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A batch as it travels."""

    records: tuple[Record, ...]
    by_event_id: dict[str, list[Record]]  # more than one only where a gateway gave an id twice, or none
    not_events: tuple[RejectedEvent, ...]
    events: int
    oldest_at_s: float | None
    body: bytes


@dataclass(slots=True)
class _Portion:
    """What is delivered at one go, in as many batches as it takes."""

    records_sure: int  # so many, however large they are
    records_max: int  # or so many, while they have at most
    bytes_max: int
    end: int  # what is durable from here on came since, and gathers for the next one
    paced: bool  # whether a pause follows, for what arrives meanwhile
    records: int = 0  # delivered of it
    size_bytes: int = 0

    def of(self, ahead: Sequence[Record]) -> tuple[Record, ...]:
        """Those at the front that belong to it; the first of a portion always does."""
        records, size_bytes = self.records, self.size_bytes
        for place, record in enumerate(ahead):
            records, size_bytes = records + 1, size_bytes + len(record.content)
            few = records <= self.records_max and size_bytes <= self.bytes_max
            if not (few or records <= self.records_sure or records == 1):
                return tuple(ahead[:place])
        return tuple(ahead)

    def take(self, records: Sequence[Record]) -> None:
        """These are delivered."""
        self.records += len(records)
        self.size_bytes += sum(len(record.content) for record in records)


class NotDelivered(Exception):
    """This attempt brought no receipt. The text is a sentence for an operator."""


class NotKept(Exception):
    """What the console refused could not be kept aside, so it is sent again. The text is a sentence for an operator."""


class Shipper:
    """Delivers one journal to one console. Run it as one task; cancel it to stop."""

    def __init__(self, journal: Journal, settings: ShipperSettings, *, seed: int | None = None) -> None:
        """seed: of the jitter, for replaying a test."""
        self._journal = journal
        self._settings = settings
        self._random = random.Random(seed)  # noqa: S311 - spreads retries, guards nothing
        self._reader = Reader(journal)
        self._rejected = RejectedEvents(journal.folder)
        self._ahead: list[Record] = []
        self._batch_records = settings.batch_records_max
        self._arrived_before = journal.durable_end
        self._oldest_at_s: float | None = None
        self._oldest_since_s = 0.0  # when that was first seen, on the monotonic clock
        self._trouble: str | None = None
        self._failures_in_a_row = 0
        self._failures = self._delivered = self._known_before = 0

    def state(self) -> ShipperState:
        """How delivery stands now; does not touch the disk."""
        health = self._journal.health()
        waiting = health.backlog_records > 0 and self._oldest_at_s is not None
        return ShipperState(
            delivering=self._trouble is None,
            sentence=self._trouble or "events reach the console",
            backlog_records=health.backlog_records,
            backlog_bytes=health.backlog_bytes,
            # A wall clock that was set back does not hide that nothing is delivered.
            backlog_s=max(time.time() - (self._oldest_at_s or 0.0), time.monotonic() - self._oldest_since_s, 0.0)
            if waiting
            else 0.0,
            delivered=self._delivered,
            known_before=self._known_before,
            rejected=self._rejected.count,
            failures=self._failures,
        )

    async def run(self) -> None:
        """Deliver until cancelled. What was not delivered then is delivered after the next start."""
        settings = self._settings
        async with httpx.AsyncClient(
            base_url=settings.console_url,
            headers={
                "Authorization": f"Bearer {settings.token}",
                "Content-Type": _PROTOBUF,
                "Content-Encoding": "gzip",
                "Accept": _PROTOBUF,
            },
            timeout=httpx.Timeout(settings.answer_s_max, connect=settings.connect_s_max),
            trust_env=False,  # a proxy meant for the outside must not see these events
        ) as client:
            portion = None
            while True:
                await self._wait_for_work()
                portion = portion or self._next_portion()
                try:
                    await self._deliver_batch(client, portion)
                except NotDelivered as error:
                    portion = None
                    await self._back_off(str(error))
                except (NotKept, OSError) as error:
                    self._note_oldest(self._oldest_at_s or time.time())  # at least: what is next may not be readable
                    portion = None
                    await self._back_off(_sentence_of(error))
                else:
                    self._succeeded()
                    if not portion.of(self._ahead):
                        if portion.paced or not self._ahead:
                            await asyncio.sleep(settings.linger_s)
                        portion = None

    async def _wait_for_work(self) -> None:
        while not self._ahead:
            try:
                async with asyncio.timeout(self._settings.sweep_s):
                    await self._journal.wait_beyond(self._reader.position)
                return
            except TimeoutError:
                try:
                    await _on_disk(self._tidy)
                except OSError as error:
                    _log.warning("delivered segments cannot be deleted: %s", error)

    def _tidy(self) -> None:
        self._rejected.look_again()
        self._journal.sweep()

    def _next_portion(self) -> _Portion:
        """What leaves room for what arrives; where nothing does, a whole batch, and the next one at once."""
        arrived = self._journal.durable_end - self._arrived_before
        self._arrived_before += arrived
        settings = self._settings
        return _Portion(
            records_sure=ceil(settings.catch_up_ratio * arrived),
            records_max=settings.catch_up_records_min if arrived else settings.batch_records_max,
            bytes_max=settings.batch_bytes_max,
            end=self._arrived_before,
            paced=arrived > 0,
        )

    async def _deliver_batch(self, client: httpx.AsyncClient, portion: _Portion) -> None:
        """Leaves nothing read ahead only when everything durable before the portion began is delivered."""
        parcel = await _on_disk(partial(self._pack, portion))
        if parcel is None:
            if self._reader.position <= self._journal.cursor:
                raise NotDelivered("the oldest events of the journal cannot be read")
            # Everything that was left is damaged and reported: there is nothing to wait for.
            await _on_disk(partial(self._journal.advance, self._reader.position))
            self._note_oldest(None)
            return
        self._note_oldest(parcel.oldest_at_s)
        rejected, known_before = list(parcel.not_events), 0
        if parcel.events:
            receipt = await self._send(client, parcel)
            rejected += _rejected_by(receipt, parcel)
            known_before = receipt.known_before
        # What the reader passed over behind the last of them is done with, too.
        all_read = len(parcel.records) == len(self._ahead)
        confirmed = self._reader.position if all_read else parcel.records[-1].sequence + 1
        await _on_disk(partial(self._confirm, parcel, rejected, known_before, confirmed))
        portion.take(parcel.records)
        del self._ahead[: len(parcel.records)]
        if not self._ahead and self._reader.position < portion.end:
            await _on_disk(self._read_ahead)
            if not self._ahead:  # the end is damaged: nobody would come back for it before the next event
                await _on_disk(partial(self._move_cursor, self._reader.position))
        if not self._ahead:  # or the next event would be as old as these until it is read
            self._note_oldest(None)

    def _read_ahead(self) -> None:
        self._ahead = self._reader.read(
            bytes_max=self._settings.batch_bytes_max, records_max=self._settings.batch_records_max
        )

    def _pack(self, portion: _Portion) -> _Parcel | None:
        if not self._ahead:
            self._read_ahead()
        records = portion.of(self._ahead[: self._batch_records])
        if not records:
            return None
        batch, not_events = pb.EventBatch(), []
        by_event_id: dict[str, list[Record]] = {}
        for record in records:
            try:
                event = pb.Event.FromString(record.content)
            except DecodeError:
                not_events.append(RejectedEvent(record.sequence, "", "the record is no event", record.content))
                continue
            event.ClearField("replay")  # the gateway's own memory
            batch.events.append(event)
            by_event_id.setdefault(event.event_id, []).append(record)
        return _Parcel(
            records=records,
            by_event_id=by_event_id,
            not_events=tuple(not_events),
            events=len(batch.events),
            oldest_at_s=_happened_at_s(batch.events[0]) if batch.events else None,
            body=gzip.compress(batch.SerializeToString(), compresslevel=1, mtime=0),
        )

    async def _send(self, client: httpx.AsyncClient, parcel: _Parcel) -> pb.EventReceipt:
        try:
            async with asyncio.timeout(self._settings.answer_s_max):
                response = await client.post(EVENTS_PATH, content=parcel.body)
        except TimeoutError as error:
            raise NotDelivered(f"the console did not answer within {self._settings.answer_s_max:g} s") from error
        except httpx.HTTPError as error:
            what = str(error) or type(error).__name__
            raise NotDelivered(f"the console at {self._settings.console_url} cannot be reached: {what}") from error
        if response.status_code in (401, 403):
            raise NotDelivered("the console refuses the control token: both sides must read the same file")
        if response.status_code != httpx.codes.OK:
            raise NotDelivered(f"the console answered {response.status_code} instead of a receipt")
        try:
            receipt = pb.EventReceipt.FromString(response.content)
        except DecodeError as error:
            raise NotDelivered("the console's answer is no receipt") from error
        accounted = receipt.applied + receipt.known_before + len(receipt.rejected)
        if accounted != parcel.events:
            raise NotDelivered(f"the console's receipt accounts for {accounted} of {parcel.events} events")
        return receipt

    def _note_oldest(self, at_s: float | None) -> None:
        if at_s != self._oldest_at_s:
            self._oldest_at_s, self._oldest_since_s = at_s, time.monotonic()

    def _confirm(self, parcel: _Parcel, rejected: Sequence[RejectedEvent], known_before: int, confirmed: int) -> None:
        try:
            self._rejected.keep(rejected)
        except OSError as error:
            raise NotKept(
                f"{len(rejected)} event(s) that the console refuses for good cannot be kept aside in "
                f"{self._rejected.folder} ({error.strerror or error}): make room there, or make it a folder to write to"
            ) from error
        self._rejected.look_again()
        self._delivered += len(parcel.records) - len(rejected)
        self._known_before += known_before
        self._move_cursor(confirmed)

    def _move_cursor(self, confirmed: int) -> None:
        try:
            self._journal.advance(confirmed)
        except OSError as error:
            # The console has the events. Without a new cursor some would travel again after a restart.
            _log.warning("the journal's cursor cannot be written: %s", error)

    def _succeeded(self) -> None:
        if self._trouble is not None:
            _log.info("events reach the console again")
        self._trouble, self._failures_in_a_row = None, 0
        self._batch_records = min(self._settings.batch_records_max, self._batch_records * 2)

    async def _back_off(self, why: str) -> None:
        if why != self._trouble:
            _log.warning("events are kept in the journal: %s", why)
        self._trouble = why
        self._failures += 1
        waits_s = pause_s(self._settings, self._failures_in_a_row, self._random)
        self._failures_in_a_row = min(self._failures_in_a_row + 1, 30)
        self._batch_records = max(1, self._batch_records // 2)
        await asyncio.sleep(waits_s)
        # What arrived meanwhile is backlog: four times that at one go would be felt just when a console comes back.
        self._arrived_before = self._journal.durable_end


def pause_s(settings: ShipperSettings, failures_before: int, spread: random.Random) -> float:
    """How long to wait after an attempt that failed, as so many before it: twice as long each time, up to an end.

    Between half of that and all of it, so that gateways which lost the same console do not come back as one.
    """
    longest_s = min(settings.retry_s_max, settings.retry_s_min * 2.0**failures_before)
    return longest_s * spread.uniform(0.5, 1.0)


def _sentence_of(error: NotKept | OSError) -> str:
    return str(error) if isinstance(error, NotKept) else f"the journal cannot be read or its cursor moved: {error}"


def _happened_at_s(event: pb.Event) -> float:
    """As it stands there: what the library makes of it raises for what is no moment of the years 1 to 9999."""
    return event.happened_at.seconds + event.happened_at.nanos / 1e9


def _rejected_by(receipt: pb.EventReceipt, parcel: _Parcel) -> list[RejectedEvent]:
    left = {event_id: iter(records) for event_id, records in parcel.by_event_id.items()}
    rejected = []
    for refusal in receipt.rejected:
        record = next(left.get(refusal.event_id, iter(())), None)
        if record is None:
            raise NotDelivered("the console's receipt rejects an event that was not sent, or one twice")
        rejected.append(RejectedEvent(record.sequence, refusal.event_id, refusal.why, record.content))
    return rejected


async def _on_disk(work: Callable[[], _T]) -> _T:
    """Run in a thread; when cancelled, wait for its end, so that no cursor is written once the journal is closed."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
