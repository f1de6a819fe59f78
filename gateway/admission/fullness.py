"""What callers may make this process hold, measured: gRPC counts no bytes for us.

A message is gRPC's until it is whole, and nothing says how much of it is here. A stream may wait for its next message
for days, so that no time tells a stream between two photographs from one that holds back the last byte of 161 MiB. So
while any message is awaited the process itself is looked at, and once messages made it grow by more than they may,
everything that whoever has most on its way has on its way is ended, until it is less. Meanwhile who has nothing else on
its way is let in, and everybody else is refused at the door (decision 0253).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog

from gateway import errors
from gateway.memory import resident_bytes, trimmer

_log = structlog.get_logger(__name__)
# A look is some 20 µs; the quickest line brings tens of MiB meanwhile. In a thread it waits for a busy loop twice, for
# tens of milliseconds and up to 200: no bound is held with that.
LOOK_EVERY_S: Final = 0.05
_LOOK_AGAIN_S: Final = 0.1  # giving back takes the processor for up to 40 ms
_TELL_EVERY_S: Final = 10.0


class OnTheirWay(Protocol):
    """What is open and may hold a message that is not whole, by whose it is."""

    def counts(self) -> Mapping[str, int]: ...

    def end_all_of(self, owner: str, refusal: errors.Overloaded) -> int:
        """How many were ended."""


class Fullness:
    def __init__(
        self,
        grown_bytes_max: int,
        with_key: Sequence[OnTheirWay],
        without_key: Sequence[OnTheirWay] = (),
        *,
        resident: Callable[[], int] = resident_bytes,
        trim: Callable[[], Any] | None = None,
    ) -> None:
        """with_key: a client's, by its id.  without_key: a stranger's, by address.

        resident: bytes of this process now.  trim: gives back to the system what is free.
        """
        self._max_bytes, self._with_key = grown_bytes_max, with_key
        self._on_their_way = (*with_key, *without_key)
        self._resident, self._trim = resident, trim or trimmer()
        self._least_bytes: int | None = None
        self._told_s = float("-inf")
        self.full = False
        self.ended = 0  # messages on their way, and streams

    def check(self, owner: str) -> None:
        """Raises Overloaded when there is no room and this owner has something on its way already."""
        if self.full and any(each.counts().get(owner) for each in self._on_their_way):
            raise _no_room("this gateway holds as much of messages as it may")

    async def run(self) -> None:
        """Look until cancelled."""
        await asyncio.to_thread(self._is_within)  # what it holds before anybody has sent anything; the file is opened
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_AGAIN_S if self.full else LOOK_EVERY_S)

    async def look(self) -> None:
        """Once; ends what is on its way of one owner where there is too much."""
        if self._least_bytes is not None and not any(each.counts() for each in self._on_their_way):
            self.full = False
            return
        self.full = not (self._is_within() or await self._is_within_once_trimmed())
        if self.full:
            self._end_most()

    def _is_within(self) -> bool:
        now_bytes = self._resident()
        self._least_bytes = min(now_bytes, self._least_bytes or now_bytes)
        return now_bytes - self._least_bytes <= self._max_bytes

    async def _is_within_once_trimmed(self) -> bool:
        """What was freed and glibc has not given back is not held: that is known only once it was asked to."""
        if self._trim is not None:
            await asyncio.to_thread(self._trim)
        return self._is_within()

    def _end_most(self) -> None:
        counts = Counter[str]()
        for each in self._on_their_way:
            counts.update(each.counts())
        if not counts:
            return
        owner, _ = counts.most_common(1)[0]
        client_id = owner if any(owner in each.counts() for each in self._with_key) else ""  # addresses are not logged
        refusal = _no_room("messages took more memory than they may, and this client has most on their way")
        ended = sum(each.end_all_of(owner, refusal) for each in self._on_their_way)
        self.ended += ended
        now_s = asyncio.get_running_loop().time()
        if ended and now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            _log.warning(
                "messages_ended_for_memory", client_id=client_id, ended=ended, mib_max=self._max_bytes // 2**20
            )


def _no_room(why: str) -> errors.Overloaded:
    return errors.Overloaded.for_now(why)
