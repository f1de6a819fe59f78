"""How often a client may call: never more than its limit in any 60 seconds.

The window moves with the call, so that no minute, wherever it is laid, holds more calls
than the limit, and a caller who stays below it is never refused. Refused calls do not
count. Memory: one deque a client, on the monotonic clock, exact for this gateway. Redis:
one list a client, read and written by one script on Redis's own clock, exact over every
gateway that shares it. While Redis is away each gateway counts for itself: the data plane
goes on answering (decision 0052).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from gateway import errors

_log = structlog.get_logger(__name__)
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


class RedisWindow:
    """Exact over all gateways that share a Redis; falls back to this process's memory without it."""

    # Times in microseconds on Redis's clock, oldest first. Answers 0, or microseconds to wait.
    _SCRIPT: Final = """
        local now = redis.call('TIME')
        now = now[1] * 1000000 + now[2]
        local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
        local oldest = redis.call('LINDEX', KEYS[1], 0)
        while oldest and tonumber(oldest) <= now - window do
            redis.call('LPOP', KEYS[1])
            oldest = redis.call('LINDEX', KEYS[1], 0)
        end
        local calls = redis.call('LLEN', KEYS[1])
        if calls >= limit then
            if limit <= 0 then return window end
            return tonumber(redis.call('LINDEX', KEYS[1], calls - limit)) + window - now
        end
        redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
        redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
        return 0
    """
    _PREFIX: Final = "amulet:calls:"
    _ANSWER_S_MAX: Final = 1.0
    _LOOK_AGAIN_S: Final = 1.0  # while Redis is away only one call in so long waits for it
    _CONNECTIONS_MAX: Final = 4  # the script takes a fraction of a millisecond

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_connect_timeout=self._ANSWER_S_MAX,
            socket_timeout=self._ANSWER_S_MAX,
            max_connections=self._CONNECTIONS_MAX,
        )
        self._script = self._redis.register_script(self._SCRIPT)
        # Waiting for a connection of our own says nothing about Redis, so it is not timed.
        self._places = asyncio.Semaphore(self._CONNECTIONS_MAX)
        self._clock = clock
        self._alone = MemoryWindow(clock)
        self._away_until_s = 0.0

    async def hit(self, name: str, limit: int) -> float | None:
        async with self._places:
            if self._clock() < self._away_until_s:
                return self._alone.hit_now(name, limit)
            try:
                async with asyncio.timeout(self._ANSWER_S_MAX):
                    wait_us = int(await self._script(keys=[self._PREFIX + name], args=[limit, int(WINDOW_S * 1e6)]))
            except (RedisError, OSError, TimeoutError) as error:
                if not self._away_until_s:
                    _log.warning(
                        "redis_away", why=type(error).__name__, consequence="each gateway counts calls for itself"
                    )
                self._away_until_s = self._clock() + self._LOOK_AGAIN_S
                return self._alone.hit_now(name, limit)
        if self._away_until_s:
            _log.info("redis_back")
            self._away_until_s = 0.0
        return wait_us / 1e6 if wait_us else None

    async def close(self) -> None:
        await self._redis.aclose()
