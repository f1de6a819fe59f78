"""Idempotency: two calls with one key get one answer and leave one event.

Kept in this process's memory for a day, within a bound of bytes; the oldest answers go
first. So a key is forgotten by a restart, by another gateway, and early where callers keep
more answers than fit: then the second call is answered as a new one. Calls with the same
key that overlap wait for the first, each under its own deadline; when the first fails, the
next one is worked on in its place, so that they share the work but not the fate.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from gateway import errors

KEPT_S: Final = 24 * 3600.0
KEPT_BYTES_MAX: Final = 24 * 2**20  # about 8,000 answers without overlays
_ENTRY_BYTES: Final = 512  # the bookkeeping around an answer


@dataclass(slots=True)
class _Entry:
    digest: bytes
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    answer: bytes | None = None
    answered_at_s: float = 0.0


class Replays:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()  # answered ones oldest first
        self.kept_bytes = 0

    async def once(
        self, client_id: str, key: str, digest: bytes, work: Callable[[], Awaitable[bytes]]
    ) -> tuple[bytes, bool]:
        """The answer, and whether it was given before.

        Raises IdempotencyConflict when the key stands for another request, and whatever `work`
        raises; a failure is not remembered.
        """
        self._forget_old()
        place = (client_id, key)
        entry = self._entries.setdefault(place, _Entry(digest))
        if entry.digest != digest:
            raise errors.IdempotencyConflict(
                "this idempotency key was used for another request",
                field="idempotency_key",
                wanted="use a new key for every new request",
            )
        entry.waiting += 1
        try:
            async with entry.turn:
                if entry.answer is not None:
                    return entry.answer, True
                answer = await work()
                self._remember(place, entry, answer)
                return answer, False
        finally:
            entry.waiting -= 1
            if entry.answer is None and not entry.waiting and self._entries.get(place) is entry:
                del self._entries[place]

    def _remember(self, place: tuple[str, str], entry: _Entry, answer: bytes) -> None:
        entry.answer, entry.answered_at_s = answer, self._clock()
        self._entries[place] = entry
        self._entries.move_to_end(place)
        self.kept_bytes += len(answer) + _ENTRY_BYTES
        self._forget_old()

    def _forget_old(self) -> None:
        now = self._clock()
        for place, entry in list(self._entries.items())[:_LOOKED_AT_MAX]:
            if entry.answer is None:  # being worked on: it has its caller's deadline
                continue
            if now - entry.answered_at_s < KEPT_S and self.kept_bytes <= KEPT_BYTES_MAX:
                return
            del self._entries[place]
            self.kept_bytes -= len(entry.answer) + _ENTRY_BYTES


_LOOKED_AT_MAX: Final = 1000  # a call clears up a little of what is old, never all of it
