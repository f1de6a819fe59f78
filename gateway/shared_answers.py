"""Answers under idempotency keys that several gateways know: in the Redis that they share, for five minutes.

A call that is made again after its connection broke may come to another gateway. Whoever begins to answer under a key
leaves its claim there, and once the answer is durable that in its place; who finds another gateway's claim waits for
what becomes of it (decision 0212). Answers are sealed under the secret that the gateways have in common.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.replays import Remembered, check_same
from gateway.shared_redis import Away, SharedRedis

ANSWERS_S: Final = 300  # as long as a journal keeps what is delivered
# A gateway that died with a claim holds up the call's next try for so long, unless it is back sooner.
CLAIM_S: Final = 60
_LOOK_EVERY_S: Final = 0.05
# A Redis that holds millions of other things is not searched to its end: a gateway has to be ready, and claims end.
_SETTLE_S_MAX: Final = 2.0
_PREFIX: Final = b"amulet:answers:"
_INFO: Final = b"amulet shared answers v1"
# What stands under a key: a letter, the request's digest, and the gateway that claims it or the sealed answer.
_CLAIM: Final = b"c"
_ANSWER: Final = b"a"
_DIGEST: Final = slice(1, 33)
_REST: Final = slice(33, None)
_NONCE_BYTES: Final = 12


class SharedAnswers:
    """Without Redis every gateway knows its own keys, and nothing here raises for it."""

    _BEGIN: Final = """
        local held = redis.call('GET', KEYS[1])
        if not held then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
        return held
    """
    _FREE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

    def __init__(self, redis: SharedRedis, *, gateway_id: str, secret: bytes) -> None:
        """secret: what all gateways have and Redis has not."""
        self._redis = redis
        self._gateway_id = gateway_id.encode()
        self._cipher = ChaCha20Poly1305(HKDF(SHA256(), length=32, salt=None, info=_INFO).derive(secret))
        self._begin = redis.client.register_script(self._BEGIN)
        self._free = redis.client.register_script(self._FREE)

    async def begin(self, place: bytes, digest: bytes) -> bytes | None:
        """The answer that another gateway gave; None: this one answers.

        place: of `place_of`.  Waits while another gateway is at it, without an end of its own.
        Raises IdempotencyConflict where the key stands for another request.
        """
        claim = self._claim(digest)
        try:
            while True:
                held = await self._redis.ask(lambda: self._begin(keys=[_PREFIX + place], args=[claim, CLAIM_S]))
                if held is None or held == claim:  # or ours of before a restart: what was durable is known by now
                    return None
                check_same(held[_DIGEST], digest)
                if held.startswith(_ANSWER):
                    return self._opened(place, held)
                await asyncio.sleep(_LOOK_EVERY_S)
        except Away:
            return None
        except asyncio.CancelledError:
            await self.free(place, digest)  # it may just have become ours
            raise

    async def give(self, place: bytes, digest: bytes, answer: bytes) -> None:
        """Tell the others what was answered."""
        nonce = os.urandom(_NONCE_BYTES)
        held = _ANSWER + digest + nonce + self._cipher.encrypt(nonce, answer, place)
        with suppress(Away):
            await self._redis.ask(lambda: self._redis.client.set(_PREFIX + place, held, ex=ANSWERS_S))

    async def free(self, place: bytes, digest: bytes) -> None:
        """Nothing was answered: the next call may be."""
        with suppress(Away):
            await self._redis.ask(lambda: self._free(keys=[_PREFIX + place], args=[self._claim(digest)]))

    async def settle(self, recalled: Callable[[bytes], Remembered | None]) -> None:
        """What an earlier process of this gateway had claimed: answered, or free. Before the first call.

        recalled: the answer that the journal has under a place.
        """
        with suppress(Away, TimeoutError):
            async with asyncio.timeout(_SETTLE_S_MAX):
                cursor = 0
                while True:
                    cursor, keys = await self._redis.ask(
                        partial(self._redis.client.scan, cursor, match=_PREFIX + b"*", count=1000)
                    )
                    for key in keys:
                        await self._settle(key.removeprefix(_PREFIX), recalled)
                    if not cursor:
                        return

    async def _settle(self, place: bytes, recalled: Callable[[bytes], Remembered | None]) -> None:
        held = await self._redis.ask(lambda: self._redis.client.get(_PREFIX + place))
        if held is None or not held.startswith(_CLAIM) or held[_REST] != self._gateway_id:
            return
        known = recalled(place)
        if known is None:
            await self.free(place, held[_DIGEST])
        else:
            await self.give(place, known.digest, known.answer)

    def _claim(self, digest: bytes) -> bytes:
        return _CLAIM + digest + self._gateway_id

    def _opened(self, place: bytes, held: bytes) -> bytes | None:
        """None for what none of us sealed: it is answered anew."""
        nonce, sealed = held[_REST][:_NONCE_BYTES], held[_REST][_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, sealed, place)
        except InvalidTag:
            return None
