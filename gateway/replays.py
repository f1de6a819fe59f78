"""Idempotency: two calls with one key get one answer and leave one event.

Kept in this process's memory for a day, within a bound of bytes; the oldest answers go
first. The journal's event holds the answer too, so a gateway that was killed reads back what its
journal still has (`remembered`). Gateways that share a Redis know each other's for five minutes (`Shared`). A key is
forgotten early where callers keep more answers than fit, and by a restart once its event was delivered and swept: then
the second call is answered as a new one. Calls with the same key that overlap wait for the first, each
under its own deadline; when the first fails, the next one is worked on in its place, so that they
share the work but not the fate.

A record that is with the journal's writer cannot be called back, so no deadline ends the work while it
waits for the disk: it would become durable, and the second call would leave another one (decision 0169).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from gateway import errors
from gateway.deadline import Deadline
from protos.amulet.events.v1 import events_pb2

KEPT_S: Final = 24 * 3600.0
KEPT_BYTES_MAX: Final = 24 * 2**20  # about 8,000 answers without overlays
_ENTRY_BYTES: Final = 512  # the bookkeeping around an answer
# What a caller was waiting for whose time is over.
ON_ITS_WAY: Final = "the answer to the same idempotency key was on its way"


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer under a key, that is kept or that a journal still has."""

    place: bytes  # of `place_of`
    digest: bytes  # of the request
    answer: bytes
    age_s: float  # by the clock, at least 0


def place_of(client_id: str, key: str) -> bytes:
    """What stands for a client's key: 32 bytes that do not tell it."""
    return hashlib.sha256(f"{client_id}\0{key}".encode()).digest()


def remembered(records: Iterable[bytes], *, now_s: float) -> Iterable[Remembered]:
    """The answers in a journal's records, in their order. now_s: seconds since 1970."""
    for record in records:
        try:
            event = events_pb2.Event.FromString(record)
        except DecodeError:  # told of when it is shipped
            continue
        if event.HasField("replay"):
            kept, at = event.replay, event.happened_at
            age_s = max(0.0, now_s - (at.seconds + at.nanos / 1e9))  # `ToMicroseconds` raises for what is no moment
            yield Remembered(kept.place, kept.request_digest, kept.answer, age_s)


def check_same(known: bytes, digest: bytes) -> None:
    """Raises IdempotencyConflict where a key stands for a request with another digest."""
    if known != digest:
        raise errors.IdempotencyConflict(
            "this idempotency key was used for another request",
            field="idempotency_key",
            wanted="use a new key for every new request",
        )


@dataclass(slots=True)
class _Entry:
    digest: bytes
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    answer: bytes | None = None
    answered_at_s: float = 0.0


class ClaimLost(Exception):
    """Another gateway has taken over: this one has recorded nothing, and may not."""


class Shared(Protocol):
    """What other gateways know of keys."""

    async def begin(self, place: bytes, digest: bytes) -> bytes | None:
        """The answer that another gateway gave, perhaps soon; None: it is ours to give. Raises IdempotencyConflict."""

    async def record(self, place: bytes, digest: bytes) -> None:
        """It is about to be recorded. Raises ClaimLost."""

    async def give(self, place: bytes, digest: bytes, answer: bytes) -> None:
        """It is given."""

    async def free(self, place: bytes, digest: bytes) -> None:
        """It is not given."""

    async def known(self, places: Sequence[bytes]) -> list[Remembered | None]:
        """What was given."""

    async def forget(self, kept: Remembered) -> None:
        """That is of no use any more."""

    async def agree(self, place: bytes, version: str, *, instead_of: str) -> str:
        """The one version of all."""

    async def settle(self, recalled: Callable[[bytes], Remembered | None]) -> None:
        """What became of what was begun here before a restart."""

    async def run(self) -> None:
        """Tell others, for ever, that what is begun here goes on."""


class Replays:
    def __init__(self, clock: Callable[[], float] = time.monotonic, *, shared: Shared | None = None) -> None:
        self._clock, self._shared = clock, shared
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()  # answered ones oldest first
        self.kept_bytes = 0

    def recall(self, answers: Iterable[Remembered]) -> None:
        """Take over what a journal still has, oldest first, before the first call."""
        for kept in answers:
            if kept.age_s < KEPT_S:
                known = self._entries.get(kept.place)
                if known is not None:
                    self._drop(kept.place, known)
                entry = _Entry(kept.digest)
                self._remember(kept.place, entry, kept.answer, age_s=kept.age_s)

    async def settle(self) -> None:
        """Tell other gateways of what was recalled. Before the first call."""
        if self._shared is not None:
            await self._shared.settle(self._kept_at)

    async def run(self) -> None:
        """What keeps other gateways from answering what is begun here. Until cancelled."""
        if self._shared is None:
            await asyncio.Event().wait()
        else:
            await self._shared.run()

    async def once(
        self,
        client_id: str,
        key: str,
        digest: bytes,
        work: Callable[[], Awaitable[bytes]],
        *,
        deadline: Deadline,
        lasting: Callable[[bytes], bytes] = bytes,
    ) -> tuple[bytes, bool]:
        """The answer, and whether it was given before.

        deadline: of the wait for another call with this key; `work` keeps to its own, and is never ended here.
        work: asks `about_to_record` before anything becomes durable, and is begun anew where that raised ClaimLost.
        lasting: what of an answer may be kept outside this process.
        Raises IdempotencyConflict when the key stands for another request, DeadlineExceeded, and
        whatever `work` raises; a failure is not remembered.
        """
        self._forget_old()
        place = place_of(client_id, key)
        entry = self._entries.setdefault(place, _Entry(digest))
        check_same(entry.digest, digest)
        entry.waiting += 1
        try:
            async with deadline.while_(ON_ITS_WAY):
                await entry.turn.acquire()
            try:
                if entry.answer is not None:
                    return entry.answer, True
                answer, before = await self._answered(place, digest, work, deadline, lasting)
                self._remember(place, entry, answer)
                return answer, before
            finally:
                entry.turn.release()
        finally:
            entry.waiting -= 1
            if entry.answer is None and not entry.waiting and self._entries.get(place) is entry:
                del self._entries[place]

    async def _answered(
        self,
        place: bytes,
        digest: bytes,
        work: Callable[[], Awaitable[bytes]],
        deadline: Deadline,
        lasting: Callable[[bytes], bytes],
    ) -> tuple[bytes, bool]:
        """By another gateway, or by `work`."""
        if self._shared is None:
            return await work(), False
        while True:
            async with deadline.while_(ON_ITS_WAY):
                known = await self._shared.begin(place, digest)
            if known is not None:
                return known, True
            try:
                answer = await work()
            except ClaimLost:
                continue
            except BaseException:
                await self._shared.free(place, digest)
                raise
            await self._shared.give(place, digest, lasting(answer))
            return answer, False

    async def about_to_record(self, client_id: str, key: str, digest: bytes) -> None:
        """For the work under a key, once nothing is left to do but to make its answer durable.

        Raises what has to leave the work as it is: ClaimLost, or the refusal that it ends with.
        """
        if self._shared is not None:
            await self._shared.record(place_of(client_id, key), digest)

    def kept(self, client_id: str, key: str) -> Remembered | None:
        """What a call with this key would get at once."""
        self._forget_old()
        return self._kept_at(place_of(client_id, key))

    async def kept_elsewhere(self, client_id: str, keys: Sequence[str]) -> list[Remembered | None]:
        """What other gateways would get at once for these keys, too."""
        if self._shared is None:
            return [None] * len(keys)
        return await self._shared.known([place_of(client_id, key) for key in keys])

    async def forget_elsewhere(self, kept: Remembered) -> None:
        """`forget` for what `kept_elsewhere` found."""
        if self._shared is not None:
            await self._shared.forget(kept)

    async def agree(self, client_id: str, key: str, version: str, *, instead_of: str) -> str:
        """The version that answers under a key at all gateways: the one named first, or now instead of that."""
        if self._shared is None:
            return version
        return await self._shared.agree(place_of(client_id, key), version, instead_of=instead_of)

    def _kept_at(self, place: bytes) -> Remembered | None:
        entry = self._entries.get(place)
        if entry is None or entry.answer is None:
            return None
        return Remembered(place, entry.digest, entry.answer, self._clock() - entry.answered_at_s)

    def forget(self, kept: Remembered) -> None:
        """Have the next call with this key answered anew. Nothing happens when another answer is kept meanwhile."""
        entry = self._entries.get(kept.place)
        if entry is not None and entry.answer is kept.answer:
            self._drop(kept.place, entry)

    def _remember(self, place: bytes, entry: _Entry, answer: bytes, *, age_s: float = 0.0) -> None:
        entry.answer, entry.answered_at_s = answer, self._clock() - age_s
        self._entries[place] = entry
        self._entries.move_to_end(place)
        self.kept_bytes += len(answer) + _ENTRY_BYTES
        self._forget_old()

    def _forget_old(self) -> None:
        """From the front, and no further than what is kept: it costs the same however much that is."""
        now = self._clock()
        old: list[tuple[bytes, _Entry]] = []
        kept_bytes = self.kept_bytes
        for place, entry in islice(self._entries.items(), _LOOKED_AT_MAX):
            if entry.answer is None:  # being worked on: it has its caller's deadline, and then the disk
                continue
            if now - entry.answered_at_s < KEPT_S and kept_bytes <= KEPT_BYTES_MAX:
                break
            old.append((place, entry))
            kept_bytes -= _bytes_of(entry)
        for place, entry in old:
            self._drop(place, entry)

    def _drop(self, place: bytes, entry: _Entry) -> None:
        del self._entries[place]
        self.kept_bytes -= _bytes_of(entry)


def _bytes_of(entry: _Entry) -> int:
    return 0 if entry.answer is None else len(entry.answer) + _ENTRY_BYTES


_LOOKED_AT_MAX: Final = 1000  # a call clears up a little of what is old, never all of it
