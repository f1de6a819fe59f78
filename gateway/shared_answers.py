"""Answers under idempotency keys that several gateways know: in the Redis that they share, for five minutes.

A call that is made again after its connection broke may come to another gateway. Whoever begins to answer under a key
leaves its claim there, and once the answer is durable that in its place; who finds another gateway's claim waits for
what becomes of it (decision 0212). Answers are sealed under the secret that the gateways have in common.

A claim ends seconds after its gateway was last heard of, and then the next one may answer. So nobody records an answer
before its claim has become a mark, in one step that fails where the claim is another's by now: who comes late has
recorded nothing, and gets the other's answer. Behind a mark the record may be durable already, so it lasts as long as
an answer, unless its gateway says what became of it (decision 0218).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway import errors
from gateway.replays import ClaimLost, Remembered, check_same
from gateway.shared_redis import Away, SharedRedis

ANSWERS_S: Final = 300  # as long as a journal keeps what is delivered
# A gateway that died before its answer was on the way to the disk holds up the call's next try for so long.
CLAIM_S: Final = 5
# What is owed to a Redis that was away is held in memory until it is back; the oldest goes first.
OWED_BYTES_MAX: Final = 4 * 2**20
_ENTRY_BYTES: Final = 256
_RENEW_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.05
# A Redis that holds millions of other things is not searched to its end before the port opens: that goes on behind it.
_SETTLE_S_MAX: Final = 2.0
_PREFIX: Final = b"amulet:answers:"
_VERSIONS: Final = b"amulet:versions:"
_INFO: Final = b"amulet shared answers v1"
# What stands under a key: a letter, the request's digest, and the gateway that is at it, or the sealed answer.
_CLAIM: Final = b"c"
_MARK: Final = b"r"
_ANSWER: Final = b"a"
_DIGEST: Final = slice(1, 33)
_REST: Final = slice(33, None)
_NONCE_BYTES: Final = 12


@dataclass(slots=True)
class _Claim:
    """What this gateway is at."""

    digest: bytes
    certain_until_s: float  # before that nobody else can have it
    marked: bool = False


@dataclass(frozen=True, slots=True)
class _Owed:
    """What Redis could not be told."""

    digest: bytes
    held: bytes  # what has to stand there; empty: nothing of this gateway
    until_s: float

    @property
    def bytes(self) -> int:
        return len(self.held) + _ENTRY_BYTES


class SharedAnswers:
    """A call that begins without Redis is one of a gateway that knows its own keys, and nothing fails for it."""

    _BEGIN: Final = """
        local held = redis.call('GET', KEYS[1])
        if not held or held == ARGV[1] or held == ARGV[2] then
            redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
            return false
        end
        return held
    """
    _RECORD: Final = """
        local held = redis.call('GET', KEYS[1])
        if held ~= ARGV[1] and held ~= ARGV[2] then return 0 end
        redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
        return 1
    """
    # An answer that stands, or that is being recorded, is not replaced; a claim is, and its gateway gets this answer.
    _GIVE: Final = """
        local held = redis.call('GET', KEYS[1])
        local kind = held and string.sub(held, 1, 1)
        if kind == 'a' or (kind == 'r' and held ~= ARGV[2]) then return 0 end
        redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
        return 1
    """
    _FREE: Final = """
        local held = redis.call('GET', KEYS[1])
        for _, one in ipairs(ARGV) do
            if held == one then return redis.call('DEL', KEYS[1]) end
        end
        return 0
    """
    # Of each key what has to stand there, and for how long more.
    _RENEW: Final = """
        local ours = {}
        for place, key in ipairs(KEYS) do
            ours[place] = 0
            if redis.call('GET', key) == ARGV[2 * place - 1] then
                ours[place] = redis.call('EXPIRE', key, ARGV[2 * place])
            end
        end
        return ours
    """
    _AGREE: Final = """
        local held = redis.call('GET', KEYS[1])
        if not held or held == ARGV[2] then held = ARGV[1] end
        redis.call('SET', KEYS[1], held, 'EX', ARGV[3])
        return held
    """

    def __init__(
        self, redis: SharedRedis, *, gateway_id: str, secret: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """secret: what all gateways have and Redis has not."""
        self._redis, self._clock = redis, clock
        self._gateway_id = gateway_id.encode()
        self._cipher = ChaCha20Poly1305(HKDF(SHA256(), length=32, salt=None, info=_INFO).derive(secret))
        self._begin, self._record, self._give, self._free, self._renew, self._agree = (
            redis.client.register_script(script)
            for script in (self._BEGIN, self._RECORD, self._GIVE, self._FREE, self._RENEW, self._AGREE)
        )
        self._claims: dict[bytes, _Claim] = {}  # place -> what is begun and neither given nor free
        self._owed: dict[bytes, _Owed] = {}  # place -> what, oldest first
        self._owed_bytes = 0
        self._recalled: Callable[[bytes], Remembered | None] | None = None  # None: all is settled
        self._cursor = 0  # of the search for what is to be settled

    async def begin(self, place: bytes, digest: bytes) -> bytes | None:
        """The answer that another gateway gave; None: this one answers.

        place: of `place_of`.  Waits while another gateway is at it, without an end of its own.
        Raises IdempotencyConflict where the key stands for another request, and JournalUnavailable where another
        gateway was at it when Redis went away.
        """
        owed = self._owed.get(place)
        if owed is not None and owed.held:
            check_same(owed.digest, digest)
            return self._opened(place, owed.held)
        self._forgive(place)
        seen_s: float | None = None  # when another gateway was last seen at it
        try:
            while True:
                asked_s = self._clock()
                try:
                    # What is ours already is of before a restart: what was durable of that is known by now.
                    held = await self._redis.ask(
                        lambda: self._begin(keys=[_PREFIX + place], args=[*self._ours(digest), CLAIM_S])
                    )
                except Away:
                    if seen_s is None:
                        return None
                    self._check_time(seen_s + CLAIM_S)
                else:
                    if held is None:
                        self._claims[place] = _Claim(digest, asked_s + CLAIM_S)
                        return None
                    check_same(held[_DIGEST], digest)
                    if held.startswith(_ANSWER):
                        return self._opened(place, held)
                    seen_s = self._clock()
                await asyncio.sleep(_LOOK_EVERY_S)
        except asyncio.CancelledError:
            await self.free(place, digest)  # it may just have become ours
            raise

    async def record(self, place: bytes, digest: bytes) -> None:
        """From here on the answer may be durable, so nobody else answers before it is known what became of it.

        Raises ClaimLost where another gateway has taken over, and JournalUnavailable where that cannot be told.
        """
        claim = self._claims.get(place)
        if claim is None:  # begun without Redis
            return
        while True:
            try:
                ours = await self._redis.ask(
                    lambda: self._record(keys=[_PREFIX + place], args=[*self._ours(digest), ANSWERS_S])
                )
            except Away:
                self._check_time(claim.certain_until_s)
                await asyncio.sleep(_LOOK_EVERY_S)
                continue
            if not ours:
                del self._claims[place]
                raise ClaimLost
            claim.marked = True
            return

    async def give(self, place: bytes, digest: bytes, answer: bytes) -> None:
        """Tell the others what was answered, as soon as Redis can be told."""
        nonce = os.urandom(_NONCE_BYTES)
        await self._end(place, digest, _ANSWER + digest + nonce + self._cipher.encrypt(nonce, answer, place))

    async def free(self, place: bytes, digest: bytes) -> None:
        """Nothing was answered: the next call may be."""
        await self._end(place, digest, b"")

    async def known(self, places: Sequence[bytes]) -> list[Remembered | None]:
        """The answers that stand under these places."""
        try:
            held = await self._redis.ask(lambda: self._redis.client.mget([_PREFIX + place for place in places]))
        except Away:
            held = [None] * len(places)
        owed = [self._owed[place].held if place in self._owed else None for place in places]
        return [self._remembered(*one) for one in zip(places, held, owed, strict=True)]

    async def forget(self, kept: Remembered) -> None:
        """Have it answered anew. Nothing happens where another answer stands there by now."""
        owed = self._owed.get(kept.place)
        if owed is not None and self._remembered(kept.place, owed.held) == kept:
            self._forgive(kept.place)
        with suppress(Away):
            held = await self._redis.ask(lambda: self._redis.client.get(_PREFIX + kept.place))
            if self._remembered(kept.place, held) == kept:
                await self._redis.ask(lambda: self._free(keys=[_PREFIX + kept.place], args=[held]))

    async def agree(self, place: bytes, version: str, *, instead_of: str) -> str:
        """The version that all gateways use for this: the first that was named, or the one named instead of it."""
        try:
            agreed: bytes = await self._redis.ask(
                lambda: self._agree(keys=[_VERSIONS + place], args=[version, instead_of, ANSWERS_S])
            )
        except Away:
            return version
        return agreed.decode(errors="replace")

    async def settle(self, recalled: Callable[[bytes], Remembered | None]) -> None:
        """What an earlier process of this gateway had begun: answered, or free. Before the first call.

        recalled: the answer that the journal has under a place.  What cannot be settled now `run` settles.
        """
        self._recalled = recalled
        await self._settle_for(_SETTLE_S_MAX)

    async def run(self) -> None:
        """Keep what is begun here from being taken over, and tell Redis what it could not be told. Until cancelled."""
        while True:
            await asyncio.sleep(_RENEW_S)
            await self.renew()
            await self.pay()
            await self._settle_for(_RENEW_S / 2)

    async def renew(self) -> None:
        claims = list(self._claims.items())
        if not claims:
            return
        args: list[bytes | int] = []
        for _, claim in claims:
            claimed, marked = self._ours(claim.digest)
            args += [marked, ANSWERS_S] if claim.marked else [claimed, CLAIM_S]
        asked_s = self._clock()
        with suppress(Away):
            ours = await self._redis.ask(lambda: self._renew(keys=[_PREFIX + place for place, _ in claims], args=args))
            for (_, claim), still in zip(claims, ours, strict=True):
                if still:
                    claim.certain_until_s = asked_s + CLAIM_S

    async def pay(self) -> None:
        """What is owed, as far as Redis can be told now."""
        now_s = self._clock()
        for place, owed in list(self._owed.items()):
            if owed.until_s <= now_s:
                self._forgive(place)
            elif self._owed.get(place) is owed and not await self._told(place, owed):
                return

    async def _end(self, place: bytes, digest: bytes, held: bytes) -> None:
        """Put what is held in place of what this gateway began, or nothing; owed while Redis is away."""
        self._claims.pop(place, None)
        self._forgive(place)
        owed = self._owed[place] = _Owed(digest, held, self._clock() + ANSWERS_S)
        self._owed_bytes += owed.bytes
        while self._owed_bytes > OWED_BYTES_MAX:
            self._forgive(next(iter(self._owed)))
        await self._told(place, owed)

    async def _told(self, place: bytes, owed: _Owed) -> bool:
        claimed, marked = self._ours(owed.digest)
        try:
            if owed.held:
                await self._redis.ask(lambda: self._give(keys=[_PREFIX + place], args=[owed.held, marked, ANSWERS_S]))
            else:
                await self._redis.ask(lambda: self._free(keys=[_PREFIX + place], args=[claimed, marked]))
        except Away:
            return False
        if self._owed.get(place) is owed:
            self._forgive(place)
        return True

    def _forgive(self, place: bytes) -> None:
        owed = self._owed.pop(place, None)
        if owed is not None:
            self._owed_bytes -= owed.bytes

    async def _settle_for(self, s_max: float) -> None:
        with suppress(Away, TimeoutError):
            async with asyncio.timeout(s_max):
                while self._recalled is not None:
                    cursor, keys = await self._redis.ask(
                        lambda: self._redis.client.scan(self._cursor, match=_PREFIX + b"*", count=1000)
                    )
                    for key in keys:
                        await self._settle(key.removeprefix(_PREFIX), self._recalled)
                    self._cursor = cursor
                    if not cursor:
                        self._recalled = None

    async def _settle(self, place: bytes, recalled: Callable[[bytes], Remembered | None]) -> None:
        held = await self._redis.ask(lambda: self._redis.client.get(_PREFIX + place))
        # What this process is at, or has just ended, it tells by itself, once Redis is back too.
        is_mine = place in self._claims or place in self._owed
        if held is None or is_mine or held not in self._ours(held[_DIGEST]):
            return
        known = recalled(place)
        if known is None:
            await self.free(place, held[_DIGEST])
        else:
            await self.give(place, known.digest, known.answer)

    def _check_time(self, until_s: float) -> None:
        """Raises JournalUnavailable once it cannot be told any more whose a key is."""
        if self._clock() >= until_s:
            raise errors.JournalUnavailable(
                "whether another gateway answers under this key cannot be told at the moment"
            )

    def _ours(self, digest: bytes) -> tuple[bytes, bytes]:
        """Claim and mark of this gateway."""
        return _CLAIM + digest + self._gateway_id, _MARK + digest + self._gateway_id

    def _remembered(self, place: bytes, *held: bytes | None) -> Remembered | None:
        """The first answer of these."""
        for one in held:
            if one and one.startswith(_ANSWER) and (answer := self._opened(place, one)) is not None:
                return Remembered(place, one[_DIGEST], answer, 0.0)
        return None

    def _opened(self, place: bytes, held: bytes) -> bytes | None:
        """None for what none of us sealed: it is answered anew."""
        nonce, sealed = held[_REST][:_NONCE_BYTES], held[_REST][_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, sealed, place)
        except InvalidTag:
            return None
