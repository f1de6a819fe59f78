"""A Redis that is stopped or killed at each step of a call under a key, between two gateways that share it.

Of one call that its caller makes again elsewhere, at most one event is left, and whoever is refused hears so soon.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from gateway import errors, shared_answers, shared_redis
from gateway.deadline import Deadline
from gateway.replays import Remembered, Replays, place_of
from gateway.shared_answers import SharedAnswers
from gateway.shared_redis import SharedRedis
from tests import chance
from tests.integration.console_brokers.own_servers import OwnServer, own_redis
from tests.unit.gateway.cast import until
from tests.unit.gateway.test_replays import LATER

pytestmark = pytest.mark.servers
DIGEST: Final = b"d" * 32
SECRET: Final = b"s" * 32
CLAIM_S: Final = 3
# What a Redis may take that is there, on a busy machine; and one that is known to be stopped.
PATIENT_S: Final = 10.0
SOON_S: Final = 0.5
# A claim's time and the last question's, with room for a busy machine.
REFUSED_S_MAX: Final = 15.0


@pytest.fixture(autouse=True)
def short_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_answers, "CLAIM_S", CLAIM_S)
    monkeypatch.setattr(shared_answers, "_RENEW_S", 0.2)
    monkeypatch.setattr(shared_redis, "_ANSWER_S_MAX", PATIENT_S)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[OwnServer]:
    server = own_redis(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass
class Journals:
    """What two gateways record."""

    events: list[str] = field(default_factory=list)


@dataclass
class One:
    """A gateway's part in calls under keys."""

    name: str
    shared: SharedAnswers
    replays: Replays
    journals: Journals
    before_record: asyncio.Event = field(default_factory=asyncio.Event)
    before_give: asyncio.Event = field(default_factory=asyncio.Event)
    at_work: asyncio.Event = field(default_factory=asyncio.Event)
    recorded: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, key: str, *, deadline_s: float = 60.0) -> str:
        async def work() -> bytes:
            self.at_work.set()
            await self.before_record.wait()
            await self.replays.about_to_record("somchai", key, DIGEST)
            self.journals.events.append(f"{self.name} {len(self.journals.events)}")
            answer = self.journals.events[-1].encode()
            self.recorded.set()
            await self.before_give.wait()
            return answer

        deadline = Deadline(time.monotonic() + deadline_s)
        return (await self.replays.once("somchai", key, DIGEST, work, deadline=deadline))[0].decode()

    def lets_all_through(self) -> None:
        self.before_record.set()
        self.before_give.set()


@asynccontextmanager
async def running(redis: OwnServer, name: str, journals: Journals) -> AsyncIterator[One]:
    client = SharedRedis(redis.url)
    shared = SharedAnswers(client, gateway_id=name, secret=SECRET)
    living = asyncio.create_task(shared.run())
    try:
        yield One(name, shared, Replays(shared=shared), journals)
    finally:
        living.cancel()
        with suppress(asyncio.CancelledError):
            await living
        await client.close()


def stopped(redis: OwnServer) -> Callable[[], None]:
    redis.suspend()
    shared_redis._ANSWER_S_MAX = SOON_S  # type: ignore[misc]  # put back by the fixture

    def back() -> None:
        redis.resume()
        shared_redis._ANSWER_S_MAX = PATIENT_S  # type: ignore[misc]

    return back


def killed(redis: OwnServer) -> Callable[[], None]:
    """It comes back without a memory."""
    redis.kill()
    return redis.start


async def outcome_of(call: asyncio.Task[str]) -> str:
    """The answer, or nothing where the call was refused. Fails the test when neither is there soon."""
    async with asyncio.timeout(REFUSED_S_MAX):
        try:
            return await call
        except errors.JournalUnavailable:
            return ""


def knows(one: One, key: str) -> Callable[[], Awaitable[bool]]:
    async def is_there() -> bool:
        return (await one.shared.known([place_of("somchai", key)]))[0] is not None

    return is_there


@pytest.mark.parametrize("outage", [stopped, killed])
@pytest.mark.parametrize("step", ["claim", "record", "give"])
async def test_a_call_that_redis_left_at_any_step_and_that_is_made_again_elsewhere_counts_once(
    redis: OwnServer, step: str, outage: Callable[[OwnServer], Callable[[], None]]
) -> None:
    journals, key = Journals(), uuid.uuid4().hex
    async with running(redis, "one", journals) as one, running(redis, "other", journals) as other:
        other.lets_all_through()
        if step == "claim":
            back = outage(redis)
        first = asyncio.create_task(one.call(key))
        await one.at_work.wait()
        if step == "record":
            back = outage(redis)
        one.before_record.set()
        if step == "give":
            await one.recorded.wait()
            back = outage(redis)
        one.before_give.set()

        answer = await outcome_of(first)
        back()
        if answer:
            await until(knows(other, key), what="Redis has heard of the answer that it was not there for")
        again = await outcome_of(asyncio.create_task(other.call(key)))

    assert len(journals.events) == 1
    assert again == journals.events[0]
    assert answer in ("", again)
    assert (answer == "") == (step == "record")  # whose it is cannot be told, so nobody's is recorded


async def test_a_redis_that_is_silent_for_a_moment_fails_no_call(redis: OwnServer) -> None:
    journals, key = Journals(), uuid.uuid4().hex
    async with running(redis, "one", journals) as one:
        first = asyncio.create_task(one.call(key))
        await one.at_work.wait()
        back = stopped(redis)
        one.lets_all_through()
        await until(lambda: one.shared._redis._away, what="the gateway has noticed")
        back()

        assert await first == journals.events[0]


@pytest.mark.parametrize("outage", [stopped, killed])
async def test_who_waits_for_another_gateway_when_redis_goes_does_not_answer_as_well(
    redis: OwnServer, outage: Callable[[OwnServer], Callable[[], None]]
) -> None:
    journals, key = Journals(), uuid.uuid4().hex
    async with running(redis, "one", journals) as one, running(redis, "other", journals) as other:
        other.lets_all_through()
        first = asyncio.create_task(one.call(key))
        await one.at_work.wait()
        one.before_record.set()
        await one.recorded.wait()
        second = asyncio.create_task(other.call(key))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(second)
        back = outage(redis)

        assert await outcome_of(second) == ""
        one.before_give.set()
        answer = await outcome_of(first)
        back()
        await until(knows(other, key), what="Redis has heard of the answer")
        assert await outcome_of(asyncio.create_task(other.call(key))) == answer

    assert journals.events == [answer]


async def test_what_cannot_be_settled_at_a_start_is_settled_when_redis_is_back(redis: OwnServer) -> None:
    """A gateway was killed with one call on the way to the disk and one that had come there."""
    lost, durable = (place_of("somchai", uuid.uuid4().hex) for _ in range(2))
    journals = Journals()
    async with running(redis, "one", journals) as killed_one:
        for place in (lost, durable):
            assert await killed_one.shared.begin(place, DIGEST) is None
            await killed_one.shared.record(place, DIGEST)
    async with running(redis, "one", journals) as back, running(redis, "other", journals) as other:
        resume = stopped(redis)
        await back.shared.settle({durable: Remembered(durable, DIGEST, b"durable", 1.0)}.get)
        resume()

        async with asyncio.timeout(REFUSED_S_MAX):
            assert [await other.shared.begin(place, DIGEST) for place in (lost, durable)] == [None, b"durable"]


async def test_gateways_that_stand_still_at_random_leave_one_event_and_one_answer_for_each_key(
    redis: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is silent for longer than its claims last, now and again, and fails some calls."""
    monkeypatch.setattr(shared_answers, "CLAIM_S", 1)
    dice = random.Random(chance.seed())
    events, answers = Counter[str](), defaultdict[str, set[bytes]](set)

    async def beats(shared: SharedAnswers) -> None:
        while True:
            await asyncio.sleep(dice.uniform(0.1, 0.4) if dice.random() < 0.6 else dice.uniform(0.4, 2.5))
            await shared.renew()

    async def call(replays: Replays, key: str) -> None:
        async def work() -> bytes:
            await asyncio.sleep(dice.uniform(0.0, 2.5))
            if dice.random() < 0.2:
                raise errors.BackendUnavailable("down")
            await replays.about_to_record("somchai", key, DIGEST)
            await asyncio.sleep(dice.choice([0.0, 0.0, 1.5, 2.5]))  # the disk
            events[key] += 1
            return f"{key} {events[key]}".encode()

        await asyncio.sleep(dice.uniform(0.0, 2.0))
        with suppress(errors.BackendUnavailable):
            answers[key].add((await replays.once("somchai", key, DIGEST, work, deadline=LATER))[0])

    clients = [SharedRedis(redis.url) for _ in range(3)]
    shared = [SharedAnswers(each, gateway_id=f"{n}", secret=SECRET) for n, each in enumerate(clients)]
    living = [asyncio.create_task(beats(each)) for each in shared]
    gateways = [Replays(shared=each) for each in shared]
    keys = [uuid.uuid4().hex for _ in range(60)]
    await asyncio.gather(*(call(replays, key) for key in keys for replays in gateways))
    for task, client in zip(living, clients, strict=True):
        task.cancel()
        await client.close()

    assert len(events) > len(keys) / 2
    assert set(events.values()) == {1}
    assert {len(told) for key, told in answers.items() if key in events} == {1}
