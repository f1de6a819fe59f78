"""The Redis that several gateways share, asked with little patience.

What it holds helps gateways to agree, and none of them needs it to answer: one that is silent holds up what is on its
way for a tenth of a second, and then one call in each second (decision 0150). Imported where one is named: its client
takes 9 MB.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError

_log = structlog.get_logger(__name__)

_ANSWER_S_MAX: Final = 0.1  # a Redis that does not answer is one that is away: its calls have waited long enough
_TURNS: Final = 4
_CONNECTION_S_MAX: Final = 1.0  # the library's own limit, by the clock alone: never reached before ours
_LOOK_AGAIN_S: Final = 1.0  # while Redis is away one call in so long asks it
_CONNECTIONS_MAX: Final = 4  # a question takes a fraction of a millisecond


class Away(Exception):
    """Redis does not answer, or did not a moment ago: whoever asks goes on alone."""


class SharedRedis:
    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.client = redis.asyncio.Redis.from_url(
            url,
            socket_connect_timeout=_CONNECTION_S_MAX,
            socket_timeout=_CONNECTION_S_MAX,
            max_connections=_CONNECTIONS_MAX,
            # Once more at once for a connection that was closed while nobody used it. Its own way waits a second.
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        )
        # Waiting for a connection of our own says nothing about Redis, so it is not timed.
        self._places = asyncio.Semaphore(_CONNECTIONS_MAX)
        self._clock = clock
        self._away = False
        self._look_again_at_s = 0.0
        self._looking = False  # one call at a time asks a Redis that is away

    async def ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """What Redis says. question: asks `client`, or a script of it. Raises Away."""
        if self._is_away():
            return await self._look(question)
        async with self._places:
            if self._is_away():  # since we began to wait
                raise Away
            return await self._asked(question)

    def _is_away(self) -> bool:
        return self._away

    async def _look(self, question: Callable[[], Awaitable[Any]]) -> Any:
        if self._looking or self._clock() < self._look_again_at_s:
            raise Away
        self._looking = True
        try:
            return await self._asked(question)
        finally:
            self._looking = False

    async def _asked(self, question: Callable[[], Awaitable[Any]]) -> Any:
        try:
            said = await self._answer(question())
        except (RedisError, OSError, TimeoutError) as error:
            if not self._away:
                alone = "each gateway counts calls, and knows idempotency keys, for itself"
                _log.warning("redis_away", why=type(error).__name__, consequence=alone)
            self._away, self._look_again_at_s = True, self._clock() + _LOOK_AGAIN_S
            raise Away from None
        if self._away:
            _log.info("redis_back")
            self._away = False
        return said

    async def _answer(self, asked: Awaitable[Any]) -> Any:
        """Raises TimeoutError, and what the library raises."""
        asking = asyncio.ensure_future(asked)
        try:
            # In turns of the loop: one that something of ours held up counts as one turn, for then we were silent
            # and not Redis, and going on alone would let the whole limit in once more.
            for _ in range(_TURNS):
                if (await asyncio.wait({asking}, timeout=_ANSWER_S_MAX / _TURNS))[0]:
                    return asking.result()
            raise TimeoutError
        finally:
            asking.cancel()

    async def close(self) -> None:
        await self.client.aclose()
