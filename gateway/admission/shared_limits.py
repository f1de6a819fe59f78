"""The window of `limits` over all gateways that share a Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway.admission.limits import WINDOW_S, Hit, MemoryWindow
from gateway.shared_redis import Away, SharedRedis


class RedisWindow:
    """Exact over all gateways that share a Redis; falls back to this process's memory without it."""

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

    def __init__(self, redis: SharedRedis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._script = redis.client.register_script(self._SCRIPT)
        self._alone = MemoryWindow(clock)

    async def hit(self, name: str, limit: int, calls: int = 1) -> Hit:
        try:
            wait_us, at_us = await self._redis.ask(
                lambda: self._script(keys=[self._PREFIX + name], args=[limit, int(WINDOW_S * 1e6), calls])
            )
        except Away:
            return self._alone.hit_now(name, limit, calls)
        return Hit(name, calls, wait_us / 1e6 if wait_us else None, at=at_us, shared=True)

    async def take_back(self, hit: Hit) -> None:
        if not hit.shared:
            self._alone.take_back_now(hit)
            return
        with suppress(Away):
            await self._redis.ask(lambda: self._redis.client.lrem(self._PREFIX + hit.name, -hit.calls, f"{hit.at:.0f}"))
