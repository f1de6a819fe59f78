"""How many streams are open at once, and whose: they cost little and may stay for days.

A client that is alone may have them all. While they are all taken, who has its share is refused; who
has less is let in, and the newest stream of whoever has most is ended for it: once what was begun in
it is answered, so that nothing is lost and its caller opens another when it may. As with calls
(`shedding`), it is the client that floods that hears of it (decision 0129).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Final

from gateway import errors

_HEARD_S: Final = 0.25  # until a caller has read how its stream ended
# What was begun in a stream that ends for the memory that its messages take: they are held for as long.
LAST_S_FOR_MEMORY: Final = 1.0
_Ended = asyncio.Future[tuple[errors.Refusal, float]]  # why, and for how many seconds what was begun may go on


async def at_once() -> None:
    """Nothing is waited for when a stream has to end."""


class Streams:
    def __init__(self, open_max: int, *, last_s_max: float) -> None:
        """last_s_max: so long a stream that has to end may finish what was begun in it."""
        self._max, self._last_s_max = open_max, last_s_max
        self._staying: dict[str, list[_Ended]] = {}  # client -> its streams that were not told to end, oldest first
        self._open: dict[str, int] = {}  # client -> its streams, those that were told to end included
        self._closed = False
        self._over_s = float("-inf")  # when the last one was
        self.open = 0

    @asynccontextmanager
    async def place(self, client_id: str, *, last: Callable[[], Awaitable[None]] = at_once) -> AsyncIterator[None]:
        """A place for one stream, which lasts as long as the body.

        last: awaited before a body that has to end is cancelled.
        Raises Overloaded when there is no place, or when it went to a client that has fewer; ShuttingDown.
        """
        loser = self._loser(client_id)
        if loser:
            fewer = errors.Overloaded.for_now("the place went to a client that has fewer open streams")
            _end(self._staying[loser].pop(), fewer, self._last_s_max)
        ended = self._enter(client_id)
        try:
            async with asyncio.TaskGroup() as group:
                leaving = group.create_task(self._leave(ended, last))
                yield
                leaving.cancel()
        except ExceptionGroup as failed:
            raise _first(failed) from None
        finally:
            self._out(client_id, ended)

    def counts(self) -> dict[str, int]:
        """How many are open and were not told to end, by whose they are."""
        return {client_id: len(staying) for client_id, staying in self._staying.items() if staying}

    def end_all_of(self, client_id: str, refusal: errors.Overloaded) -> int:
        """Tell every stream of this client to end, soon. How many those were."""
        staying = self._staying.get(client_id, [])
        for ended in staying:
            _end(ended, refusal, min(LAST_S_FOR_MEMORY, self._last_s_max))
        count = len(staying)
        staying.clear()
        return count

    def close(self) -> None:
        """End every stream, those that are still to come as well."""
        self._closed = True
        for staying in self._staying.values():
            for ended in staying:
                _end(ended, _shutting_down(), self._last_s_max)
            staying.clear()

    async def until_heard(self, *, s_max: float) -> None:
        """Returns a moment after the last one was over, after s_max at the latest.

        gRPC closes a connection once nothing is under way on it. A caller in the midst of sending is answered by a
        reset then, and may lose how its stream ended.
        """
        ends_s = monotonic() + s_max
        while (self.open or monotonic() - self._over_s < _HEARD_S) and monotonic() < ends_s:  # noqa: ASYNC110 - for time
            await asyncio.sleep(_HEARD_S / 5)

    def _loser(self, client_id: str) -> str:
        """Whose newest stream has to end for one of this client; empty: nobody's. Raises Overloaded."""
        if self.open < self._max:
            return ""
        own = self._open.get(client_id, 0)
        share = max(1, self._max // (len(self._open) + (own == 0)))
        # Those that were told to end and do not (their callers do not read) are as many again at most.
        if own < share and self.open < 2 * self._max:
            most = max(self._staying, key=lambda client: len(self._staying[client]))
            if len(self._staying[most]) > share:
                return most
            if sum(map(len, self._staying.values())) < self._max:
                return ""
        raise errors.Overloaded.for_now(f"{self.open} streams are open already, {own} of them this client's")

    def _enter(self, client_id: str) -> _Ended:
        ended: _Ended = asyncio.get_running_loop().create_future()
        staying = self._staying.setdefault(client_id, [])
        if self._closed:
            _end(ended, _shutting_down(), self._last_s_max)
        else:
            staying.append(ended)
        self._open[client_id] = self._open.get(client_id, 0) + 1
        self.open += 1
        return ended

    def _out(self, client_id: str, ended: _Ended) -> None:
        staying = self._staying[client_id]
        if ended in staying:
            staying.remove(ended)
        self.open -= 1
        self._over_s = monotonic()
        self._open[client_id] -= 1
        if not self._open[client_id]:
            del self._open[client_id], self._staying[client_id]

    async def _leave(self, ended: _Ended, last: Callable[[], Awaitable[None]]) -> None:
        refusal, last_s = await ended
        with suppress(TimeoutError):
            async with asyncio.timeout(last_s):
                await last()
        raise refusal


def _end(ended: _Ended, refusal: errors.Refusal, last_s: float) -> None:
    """Tell a stream to end. One whose body has just ended is still among those that stay, for a turn of the loop."""
    if not ended.done():
        ended.set_result((refusal, last_s))


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failed.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _shutting_down() -> errors.ShuttingDown:
    return errors.ShuttingDown("this gateway is shutting down")
