"""The window of `limits` over all gateways that share a Redis. Imported where one is named: its client takes 9 MB."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from gateway.admission.limits import WINDOW_S, MemoryWindow

_log = structlog.get_logger(__name__)


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
