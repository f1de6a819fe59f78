"""Calls that have begun and whose message is not here yet: they cost little, but may never go on.

A call is let in by its headers, before a byte of its message is read, and its sender decides when the
message comes. So each is waited for a limited time, and all of them together are limited and shared as
streams are (`streams`): while they are all taken, who has its share is refused; who has less is let
in, and the newest call of whoever has most is ended for it. Nothing was begun for it yet, so it ends at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway import errors

# From the moment in which the gateway is to stop: what is on its way arrives, what never comes holds nothing up.
LAST_S: Final = 1.0
_Message = TypeVar("_Message")


class Arrivals:
    def __init__(self, awaited_max: int, *, arrive_s_max: float) -> None:
        """awaited_max: calls at once; arrive_s_max: from a call's headers to the end of its message."""
        self._max, self._s_max = awaited_max, arrive_s_max
        self._of: dict[str, dict[asyncio.Timeout, None]] = {}  # client -> its calls, oldest first
        self._ended: dict[asyncio.Timeout, errors.Refusal] = {}  # why, where it is not that the time is over
        self._closed = False
        self.awaited = 0

    async def message(self, client_id: str, read: Callable[[], Awaitable[_Message]]) -> _Message:
        """What is read.

        Raises Overloaded when there is no place, or when it went to a client that has fewer; DeadlineExceeded
        when the time is over; ShuttingDown.
        """
        self._make_room(client_id)
        timeout = asyncio.timeout(LAST_S if self._closed else self._s_max)
        self._of.setdefault(client_id, {})[timeout] = None
        self.awaited += 1
        try:
            async with timeout:
                return await read()
        except TimeoutError:
            if not timeout.expired():
                raise
            raise self._ended.pop(timeout, None) or self._late() from None
        finally:
            self._out(client_id, timeout)
            self._ended.pop(timeout, None)

    def counts(self) -> dict[str, int]:
        """How many are awaited, by whose they are."""
        return {client_id: len(calls) for client_id, calls in self._of.items()}

    def end_all_of(self, client_id: str, refusal: errors.Overloaded) -> int:
        """End what is awaited of this client, at once. How many that was."""
        ending = list(self._of.get(client_id, ()))
        for timeout in ending:
            self._end(client_id, timeout, refusal)
        return len(ending)

    def close(self) -> None:
        """Wait for nothing longer than LAST_S from now on."""
        self._closed = True
        ends_at_s = asyncio.get_running_loop().time() + LAST_S
        for calls in self._of.values():
            for timeout in calls:
                if not timeout.expired():
                    timeout.reschedule(min(ends_at_s, timeout.when() or ends_at_s))

    def _make_room(self, client_id: str) -> None:
        """End the newest call of whoever has most where there is no place. Raises Overloaded."""
        if self.awaited < self._max:
            return
        own = len(self._of.get(client_id, ()))
        share = max(1, self._max // (len(self._of) + (own == 0)))
        most = max(self._of, key=lambda client: len(self._of[client]))
        if own >= share or len(self._of[most]) <= share:
            raise errors.Overloaded.for_now(f"{self.awaited} calls are awaited already, {own} of them this client's")
        fewer = errors.Overloaded.for_now("the place went to a client that has fewer calls to come")
        self._end(most, next(reversed(self._of[most])), fewer)

    def _end(self, client_id: str, timeout: asyncio.Timeout, refusal: errors.Overloaded) -> None:
        self._out(client_id, timeout)
        if not timeout.expired():  # it ends in this very moment, and says why by itself
            self._ended[timeout] = refusal
            timeout.reschedule(0.0)

    def _out(self, client_id: str, timeout: asyncio.Timeout) -> None:
        calls = self._of.get(client_id, {})
        if timeout not in calls:  # it went for another
            return
        del calls[timeout]
        if not calls:
            del self._of[client_id]
        self.awaited -= 1

    def _late(self) -> errors.Refusal:
        if self._closed:
            return errors.ShuttingDown("this gateway is shutting down")
        return errors.DeadlineExceeded(
            f"the message was not here {self._s_max:g} s after the call began", wanted="send it faster, or less of it"
        )
