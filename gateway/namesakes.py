"""Another gateway that goes by this one's id: to the Redis that both share the two are one.

Each would take the other's claims for what a killed process of its own had left (`shared_answers.settle`), and a call
under an idempotency key could count twice. So under the id stands who is it, and which turn that was. A gateway that
begins takes the next turn and asks nobody: one that was killed and is started again at once finds what it left itself,
and is held up by nothing. One that lives and finds a later turn there puts its own back, within a second. Only what
lives does that, so whoever finds an earlier turn there has a namesake; it is not ready until nobody has renewed that
for seconds. No clock is compared with another's.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Final

import structlog

from gateway.shared_redis import Away, SharedRedis

_log = structlog.get_logger(__name__)
_PREFIX: Final = b"amulet:gateways:"
LOOK_EVERY_S: Final = 1.0
# A gateway that ended is not waited for any longer by the one that came second.
TURN_S: Final = 5
_NOBODY, _EARLIER, _LATER = range(3)


class Namesakes:
    """Whether this gateway is the only one with its id. Run it as one task."""

    # Turns may be equal where one gateway stood still until its own had ended: then the names decide.
    _LOOK: Final = """
        local turn, name = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%x+)$')
        turn = tonumber(turn) or 0
        local mine, found = tonumber(ARGV[2]), 0
        if mine == 0 then
            mine = turn + 1
        elseif name and name ~= ARGV[1] then
            if turn < mine or (turn == mine and name < ARGV[1]) then return {mine, 1} end
            found = 2
        end
        redis.call('SET', KEYS[1], string.format('%d %s', mine, ARGV[1]), 'EX', ARGV[3])
        return {mine, found}
    """

    def __init__(self, redis: SharedRedis, *, gateway_id: str) -> None:
        self._redis, self._gateway_id = redis, gateway_id
        self._name = os.urandom(16).hex()
        self._turn = 0  # none yet
        self._look = redis.client.register_script(self._LOOK)
        self.trouble: str | None = None  # one sentence; None: no other gateway was first

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Say who is here, and find out who else is. Without Redis nothing is shared that could be taken."""
        found = _NOBODY
        with suppress(Away):
            self._turn, found = await self._redis.ask(
                lambda: self._look(keys=[_PREFIX + self._gateway_id.encode()], args=[self._name, self._turn, TURN_S])
            )
        if found == _LATER:
            _log.warning("gateway_id_taken", why=self._sentence("a later one is kept from being ready"))
        trouble = self._sentence("it was here first") if found == _EARLIER else None
        if trouble is not None and self.trouble is None:
            _log.error("gateway_id_taken", why=trouble)
        elif trouble is None and self.trouble is not None:
            _log.info("gateway_id_free")
        self.trouble = trouble

    def _sentence(self, which: str) -> str:
        return (
            f"another gateway answers as AMULET_GATEWAY_ID {self._gateway_id} with the same Redis ({which}): "
            "give each gateway an id of its own"
        )
