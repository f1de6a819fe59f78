"""How often a client may call: never more than its limit in any 60 seconds.

The window moves with the call, so that no minute, wherever it is laid, holds more calls
than the limit, and a caller who stays below it is never refused. Refused calls do not
count. Memory: one deque a client, on the monotonic clock, exact for this gateway. Redis:
one list a client, read and written by one script on Redis's own clock, exact over every
gateway that shares it. While Redis is away each gateway counts for itself: the data plane
goes on answering (decision 0052).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from gateway import errors

WINDOW_S: Final = 60.0


class Window(Protocol):
    async def hit(self, name: str, limit: int) -> float | None:
        """Count a call. None: it may go on; otherwise the seconds until one may."""


class RateLimiter:
    """Refuses the call after the last one that fits."""

    def __init__(self, window: Window) -> None:
        self._window = window

    async def admit(self, client_id: str, *, kind: str, calls_per_minute: int) -> None:
        """kind: predictions, feedback and readings are counted apart. Raises RateLimited."""
        wait_s = await self._window.hit(f"{kind}:{client_id}", calls_per_minute)
        if wait_s is not None:
            raise errors.RateLimited(
                f"the limit of {calls_per_minute} calls in any 60 seconds is reached",
                wanted=f"call again in {wait_s:.1f} s",
                retry_after_s=wait_s,
            )


class MemoryWindow:
    """Exact for one process. Never waits, so that no two calls can meet inside `hit`."""

    _SWEEP_S: Final = WINDOW_S

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: dict[str, deque[float]] = {}
        self._swept_at = clock()

    async def hit(self, name: str, limit: int) -> float | None:
        return self.hit_now(name, limit)

    def hit_now(self, name: str, limit: int) -> float | None:
        now = self._clock()
        self._sweep(now)
        calls = self._calls.setdefault(name, deque())
        while calls and calls[0] <= now - WINDOW_S:
            calls.popleft()
        if len(calls) >= limit:
            # The limit may have been lowered: wait until enough of the old calls have left.
            # A sum of clock readings may be a rounding above the window.
            return min(WINDOW_S, calls[len(calls) - limit] + WINDOW_S - now) if limit > 0 else WINDOW_S
        calls.append(now)
        return None

    def _sweep(self, now: float) -> None:
        """Forget clients that have not called for a window, so that memory follows the callers of now."""
        if now - self._swept_at < self._SWEEP_S:
            return
        self._swept_at = now
        self._calls = {name: calls for name, calls in self._calls.items() if calls and calls[-1] > now - WINDOW_S}
