"""The window of `limits` over all gateways that share a Redis. Imported where one is named: its client takes 9 MB."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError

from gateway.admission.limits import WINDOW_S, Hit, MemoryWindow

_log = structlog.get_logger(__name__)


class RedisWindow:
    """Exact over all gateways that share a Redis; falls back to this process's memory without it.

    A Redis that is silent holds up what is on its way for a tenth of a second, and then one call in each second.
    """

    # Times in microseconds on Redis's clock, oldest first. Answers 0 and when the calls were counted, or
    # microseconds to wait.
    _SCRIPT: Final = """
        local now = redis.call('TIME')
        now = now[1] * 1000000 + now[2]
        local limit, window, more = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local latest = redis.call('LINDEX', KEYS[1], -1)
        if latest and tonumber(latest) > now then
            -- The clock was set back. Who called then is taken to have called now: more than the limit in a window
            -- is never let in, and nobody waits for longer than a window.
            local ahead = 0
            for _, at in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
                if tonumber(at) > now then ahead = ahead + 1 end
            end
            redis.call('LTRIM', KEYS[1], 0, -ahead - 1)
            for _ = 1, ahead do redis.call('RPUSH', KEYS[1], string.format('%.0f', now)) end
            redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
        end
        local oldest = redis.call('LINDEX', KEYS[1], 0)
        while oldest and tonumber(oldest) <= now - window do
            redis.call('LPOP', KEYS[1])
            oldest = redis.call('LINDEX', KEYS[1], 0)
        end
        local too_many = redis.call('LLEN', KEYS[1]) + more - limit
        if too_many > 0 then
            if more > limit then return {window, 0} end
            return {tonumber(redis.call('LINDEX', KEYS[1], too_many - 1)) + window - now, 0}
        end
        for _ = 1, more do redis.call('RPUSH', KEYS[1], string.format('%.0f', now)) end
        redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
        return {0, now}
    """
    _PREFIX: Final = "amulet:calls:"
    _ANSWER_S_MAX: Final = 0.1  # a Redis that does not answer is one that is away: its calls have waited long enough
    _TURNS: Final = 4
    _CONNECTION_S_MAX: Final = 1.0  # the library's own limit, by the clock alone: never reached before ours
    _LOOK_AGAIN_S: Final = 1.0  # while Redis is away one call in so long asks it
    _CONNECTIONS_MAX: Final = 4  # the script takes a fraction of a millisecond

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_connect_timeout=self._CONNECTION_S_MAX,
            socket_timeout=self._CONNECTION_S_MAX,
            max_connections=self._CONNECTIONS_MAX,
            # Once more at once for a connection that was closed while nobody used it. Its own way waits a second.
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        )
        self._script = self._redis.register_script(self._SCRIPT)
        # Waiting for a connection of our own says nothing about Redis, so it is not timed.
        self._places = asyncio.Semaphore(self._CONNECTIONS_MAX)
        self._clock = clock
        self._alone = MemoryWindow(clock)
        self._away = False
        self._look_again_at_s = 0.0
        self._looking = False  # one call at a time asks a Redis that is away

    async def hit(self, name: str, limit: int, calls: int = 1) -> Hit:
        if self._is_away():
            return await self._hit_while_away(name, limit, calls)
        async with self._places:
            if self._is_away():  # since we began to wait
                return self._alone.hit_now(name, limit, calls)
            return await self._hit_shared(name, limit, calls)

    async def take_back(self, hit: Hit) -> None:
        if not hit.shared:
            self._alone.take_back_now(hit)
            return
        async with self._places:
            if not self._is_away():
                with suppress(RedisError, OSError, TimeoutError):  # the next call finds out what is the matter
                    await self._answer(self._redis.lrem(self._PREFIX + hit.name, -hit.calls, f"{hit.at:.0f}"))

    def _is_away(self) -> bool:
        return self._away

    async def _hit_while_away(self, name: str, limit: int, calls: int) -> Hit:
        if self._looking or self._clock() < self._look_again_at_s:
            return self._alone.hit_now(name, limit, calls)
        self._looking = True
        try:
            return await self._hit_shared(name, limit, calls)
        finally:
            self._looking = False

    async def _hit_shared(self, name: str, limit: int, calls: int) -> Hit:
        asked = self._script(keys=[self._PREFIX + name], args=[limit, int(WINDOW_S * 1e6), calls])
        try:
            wait_us, at_us = await self._answer(asked)
        except (RedisError, OSError, TimeoutError) as error:
            if not self._away:
                _log.warning("redis_away", why=type(error).__name__, consequence="each gateway counts calls for itself")
            self._away, self._look_again_at_s = True, self._clock() + self._LOOK_AGAIN_S
            return self._alone.hit_now(name, limit, calls)
        if self._away:
            _log.info("redis_back")
            self._away = False
        return Hit(name, calls, wait_us / 1e6 if wait_us else None, at=at_us, shared=True)

    async def _answer(self, asked: Awaitable[Any]) -> Any:
        """What Redis says. Raises TimeoutError, and what the library raises."""
        asking = asyncio.ensure_future(asked)
        try:
            # In turns of the loop: one that something of ours held up counts as one turn, for then we were silent
            # and not Redis, and counting alone would let the whole limit in once more.
            for _ in range(self._TURNS):
                if (await asyncio.wait({asking}, timeout=self._ANSWER_S_MAX / self._TURNS))[0]:
                    return asking.result()
            raise TimeoutError
        finally:
            asking.cancel()

    async def close(self) -> None:
        await self._redis.aclose()
