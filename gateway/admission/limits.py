"""How often a client may call: never more than its limit in any 60 seconds.

The window moves with the call, so that no minute, wherever it is laid, holds more calls
than the limit, and a caller who stays below it is never refused. Refused calls do not
count: several that belong together are counted all or not at all, and what was counted can be
taken back (decision 0151). Memory: one deque a client, on the monotonic clock, exact for this gateway. Redis:
one list a client, read and written by one script on Redis's own clock, exact over every
gateway that shares it. While Redis is away each gateway counts for itself: the data plane
goes on answering (decision 0052).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final, Protocol

from gateway import errors

WINDOW_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Hit:
    """What a window says to calls that come together: all of them were counted, or none."""

    name: str
    calls: int
    wait_s: float | None  # None: they may go on; otherwise the seconds until so many may
    at: float = 0.0  # when they were counted, by the clock of whoever counted them
    shared: bool = False  # counted for all gateways together


class Window(Protocol):
    async def hit(self, name: str, limit: int, calls: int = 1) -> Hit:
        """Count so many calls, at least one, if all of them fit."""

    async def take_back(self, hit: Hit) -> None:
        """Count no longer what was counted. Where the count is out of reach it stays until its window is over."""


class RateLimiter:
    """Refuses the call after the last one that fits."""

    def __init__(self, window: Window) -> None:
        self._window = window

    async def admit(self, client_id: str, *, kind: str, calls_per_minute: int, calls: int = 1, counted: int = 0) -> Hit:
        """kind: predictions, feedback and readings are counted apart.

        calls: that belong together, counted all or not at all; counted: so many of theirs were before.
        Raises RateLimited.
        """
        hit = await self._window.hit(f"{kind}:{client_id}", calls_per_minute, calls)
        if hit.wait_s is None:
            return hit
        if calls + counted > calls_per_minute:
            raise errors.RateLimited(
                f"{calls + counted} calls at once are more than the limit of {calls_per_minute} in any 60 seconds",
                wanted=f"send at most {calls_per_minute} at once",
                retry_after_s=hit.wait_s,
            )
        raise errors.RateLimited(
            f"the limit of {calls_per_minute} calls in any 60 seconds is reached",
            wanted=f"call again in {ceil(hit.wait_s * 10) / 10} s",  # rounded up: whoever comes then is let in
            retry_after_s=hit.wait_s,
        )

    async def take_back(self, hit: Hit) -> None:
        await self._window.take_back(hit)


class MemoryWindow:
    """Exact for one process. Never waits, so that no two calls can meet inside `hit`."""

    _SWEEP_S: Final = WINDOW_S

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: dict[str, deque[float]] = {}
        self._swept_at = clock()

    async def hit(self, name: str, limit: int, calls: int = 1) -> Hit:
        return self.hit_now(name, limit, calls)

    async def take_back(self, hit: Hit) -> None:
        self.take_back_now(hit)

    def hit_now(self, name: str, limit: int, calls: int = 1) -> Hit:
        now = self._clock()
        self._sweep(now)
        inside = self._calls.setdefault(name, deque())
        while inside and inside[0] <= now - WINDOW_S:
            inside.popleft()
        too_many = len(inside) + calls - limit
        if too_many > 0:
            # The limit may have been lowered: wait until enough of the old calls have left.
            # A sum of clock readings may be a rounding above the window.
            wait_s = min(WINDOW_S, inside[too_many - 1] + WINDOW_S - now) if calls <= limit else WINDOW_S
            return Hit(name, calls, wait_s)
        inside.extend([now] * calls)
        return Hit(name, calls, None, at=now)

    def take_back_now(self, hit: Hit) -> None:
        inside = self._calls.get(hit.name, deque())
        later = []  # a call is taken back soon after it came: few came since
        while inside and inside[-1] > hit.at:
            later.append(inside.pop())
        for _ in range(hit.calls):
            if inside and inside[-1] == hit.at:
                inside.pop()
        inside.extend(reversed(later))

    def _sweep(self, now: float) -> None:
        """Forget clients that have not called for a window, so that memory follows the callers of now."""
        if now - self._swept_at < self._SWEEP_S:
            return
        self._swept_at = now
        self._calls = {name: calls for name, calls in self._calls.items() if calls and calls[-1] > now - WINDOW_S}
