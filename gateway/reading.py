"""What gRPC has of a message is handed over whatever becomes of the call, and a long one once others have had time.

Its Python copies a message that is whole, and frees its own, only where a read goes on to its end. A read that is given
up in that moment (its time is over, its caller has left, its client's messages take too much memory) would keep the
message for as long as the process lives (issue 43360 of grpc/grpc). So none is given up: its end is waited for
by whoever asked, and without him it is brought about as soon as gRPC has something.

Nothing else goes on while gRPC copies: 0.2 s for 152 MiB. So what took a while to come, and may be as long, is handed
over one by one, each client's in turn; after a long one everybody else has as much time as it took (decision 0282).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final

from grpc import aio

from gateway.admission.turns import Turns

# What a photograph made smaller for its model takes on its way is here with its call; 152 MiB take longer on any line.
_AT_ONCE_S: Final = 0.02
_LONG_S: Final = 0.02  # of the event loop


class Reading:
    """One for all calls."""

    def __init__(self) -> None:
        self._turns: Turns[asyncio.Future[None]] = Turns()
        self._free_s = float("-inf")  # from when on the next one that may be long is handed over
        self._calling: asyncio.TimerHandle | None = None

    async def next(self, owner: str, context: aio.ServicerContext[Any, Any]) -> Any:
        """The next message of this call, as bytes; aio.EOF: there is none. owner: whose it is."""
        reading: Coroutine[Any, Any, Any] = context.read()
        began_s = monotonic()
        try:
            coming: asyncio.Future[None] = reading.send(None)
        except StopIteration as ended:
            return ended.value
        # Not the future that gRPC waits for: whoever cancels this call would cancel that one, too.
        here: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        coming.add_done_callback(partial(self._came, here, reading))
        try:
            await here
            if monotonic() - began_s > _AT_ONCE_S:
                await self._turn(owner)
        except BaseException:
            if not here.cancelled():  # it came in this very moment, or waited for its turn
                self._let_go(reading)
            raise
        return self._end(reading)

    async def _turn(self, owner: str) -> None:
        if not self._turns and monotonic() >= self._free_s:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.put(owner, turn)
        self._call_in()
        try:
            await turn
        finally:
            self._turns.discard(owner, turn)
            self._call_in()  # those behind come when this one, handed over in this very step, has left them time

    def _call_in(self) -> None:
        if self._calling is None and self._turns:
            left_s = max(0.0, self._free_s - monotonic())
            self._calling = asyncio.get_running_loop().call_later(left_s, self._next)

    def _next(self) -> None:
        self._calling = None
        if monotonic() < self._free_s:
            self._call_in()
            return
        if self._turns:
            turn = self._turns.take()
            if not turn.done():  # its call is over, which calls in the next one
                turn.set_result(None)

    def _came(self, here: asyncio.Future[None], reading: Coroutine[Any, Any, Any], _: object) -> None:
        if here.cancelled():
            self._let_go(reading)
        else:
            here.set_result(None)

    def _let_go(self, reading: Coroutine[Any, Any, Any]) -> None:
        with suppress(Exception):  # the call is over, which gRPC says in various ways
            self._end(reading)

    def _end(self, reading: Coroutine[Any, Any, Any]) -> Any:
        """What was read: copied by gRPC, and freed there."""
        began_s = monotonic()
        try:
            reading.send(None)
        except StopIteration as ended:
            return ended.value
        finally:
            took_s = monotonic() - began_s
            if took_s > _LONG_S:
                self._free_s = began_s + 2 * took_s
        raise AssertionError("gRPC waits twice for one message")
