"""Idempotency keys over several gateways: one answer for one key, whichever of them is asked."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import grpc
import pytest
import pytest_asyncio
import redis.asyncio
from grpc import aio

from gateway import errors, shared_answers, shared_redis
from gateway.deadline import Deadline
from gateway.replays import Remembered, Replays, place_of
from gateway.shared_answers import ANSWERS_S, SharedAnswers
from gateway.shared_redis import SharedRedis
from protos.amulet.v1 import prediction_pb2 as pb
from tests.unit.gateway.admission.test_limits import REDIS_URL, Clock, redis_answers
from tests.unit.gateway.cast import SOMCHAI, Gateway, client, new_key, photo, policy, refused, running_gateway, until
from tests.unit.gateway.journal.disk import held_disk
from tests.unit.gateway.test_replays import LATER, Work
from tests.unit.gateway.test_service import feedback_on

pytestmark = pytest.mark.servers
SECRET: Final = os.urandom(32)
DIGEST: Final = os.urandom(32)
OTHER: Final = os.urandom(32)
NOBODY_THERE: Final = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that a busy machine keeps silent for a tenth of a second is not what is looked at here."""
    monkeypatch.setattr(shared_redis, "_ANSWER_S_MAX", 10.0)


def key() -> str:
    """One that no other run of the test has used."""
    return uuid.uuid4().hex


@pytest_asyncio.fixture
async def redises() -> AsyncIterator[Sequence[SharedRedis]]:
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    both = SharedRedis(REDIS_URL), SharedRedis(REDIS_URL)
    yield both
    for each in both:
        await each.close()


@pytest_asyncio.fixture
async def gateways(redises: Sequence[SharedRedis]) -> tuple[Replays, Replays]:
    """What two gateways know of keys."""
    first, second = (
        Replays(shared=SharedAnswers(redis, gateway_id=name, secret=SECRET))
        for name, redis in zip(("gateway-1", "gateway-2"), redises, strict=True)
    )
    return first, second


def both(redises: Sequence[SharedRedis]) -> tuple[SharedAnswers, SharedAnswers]:
    """The same without what each gateway remembers by itself."""
    one, other = (SharedAnswers(each, gateway_id=name, secret=SECRET) for name, each in zip("ab", redises, strict=True))
    return one, other


async def test_the_second_call_gets_the_answer_of_another_gateway(gateways: tuple[Replays, Replays]) -> None:
    (first, second), k, work = gateways, key(), Work()

    assert await first.once("somchai", k, DIGEST, work, deadline=LATER) == (b"answer 1", False)
    assert await second.once("somchai", k, DIGEST, work, deadline=LATER) == (b"answer 1", True)
    assert await second.once("malee", k, DIGEST, work, deadline=LATER) == (b"answer 2", False)


async def test_a_gateway_that_shares_nothing_answers_anew(gateways: tuple[Replays, Replays]) -> None:
    """Negative control."""
    k, work = key(), Work()
    await gateways[0].once("somchai", k, DIGEST, work, deadline=LATER)

    assert await Replays().once("somchai", k, DIGEST, work, deadline=LATER) == (b"answer 2", False)


async def test_who_comes_while_another_gateway_is_at_it_waits_for_its_answer(gateways: tuple[Replays, Replays]) -> None:
    (first, second), k, work = gateways, key(), Work()
    work.go_on.clear()
    begun = asyncio.create_task(first.once("somchai", k, DIGEST, work, deadline=LATER))
    await until(lambda: work.runs == 1, what="the first is at it")

    with pytest.raises(errors.DeadlineExceeded, match="the same idempotency key"):
        await second.once("somchai", k, DIGEST, work, deadline=Deadline(asyncio.get_running_loop().time() + 0.2))
    waiting = asyncio.create_task(second.once("somchai", k, DIGEST, work, deadline=LATER))
    work.go_on.set()

    assert await begun == (b"answer 1", False)
    assert await waiting == (b"answer 1", True)
    assert work.runs == 1


async def test_what_one_gateway_could_not_answer_another_one_answers(gateways: tuple[Replays, Replays]) -> None:
    (first, second), k, work = gateways, key(), Work()
    work.fails = True
    with pytest.raises(errors.BackendUnavailable):
        await first.once("somchai", k, DIGEST, work, deadline=LATER)
    work.fails = False

    assert await second.once("somchai", k, OTHER, work, deadline=LATER) == (b"answer 2", False)


async def test_the_same_key_for_another_request_is_a_conflict_elsewhere_too(gateways: tuple[Replays, Replays]) -> None:
    (first, second), k, work = gateways, key(), Work()
    await first.once("somchai", k, DIGEST, work, deadline=LATER)

    with pytest.raises(errors.IdempotencyConflict):
        await second.once("somchai", k, OTHER, work, deadline=LATER)
    assert await second.once("somchai", k, DIGEST, work, deadline=LATER) == (b"answer 1", True)


async def test_a_gateway_that_is_back_tells_what_became_of_its_claims(redises: Sequence[SharedRedis]) -> None:
    """It was killed: once after an answer was durable, once before."""
    place, lost = os.urandom(32), os.urandom(32)
    killed, other = both(redises)
    for each in (place, lost):
        assert await killed.begin(each, DIGEST) is None
    waiting = [asyncio.create_task(other.begin(each, DIGEST)) for each in (place, lost)]

    back = SharedAnswers(redises[0], gateway_id="a", secret=SECRET)
    recalled = {place: Remembered(place, DIGEST, b"durable", 1.0)}
    await back.settle(recalled.get)

    assert await asyncio.gather(*waiting) == [b"durable", None]


async def test_a_gateway_that_is_back_leaves_the_claims_of_others_alone(redises: Sequence[SharedRedis]) -> None:
    place = os.urandom(32)
    one, other = both(redises)
    await other.begin(place, DIGEST)
    before = await redises[0].client.get(b"amulet:answers:" + place)

    await one.settle({}.get)

    assert before is not None
    assert await redises[0].client.get(b"amulet:answers:" + place) == before


async def test_an_answer_that_is_given_while_a_gateway_settles_stays_though_redis_goes_just_then(
    redises: Sequence[SharedRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen of it in Redis is its mark, and of this process the journal knows nothing yet."""
    place, seen, go_on = os.urandom(32), asyncio.Event(), asyncio.Event()
    one, other = both(redises)
    await one.begin(place, DIGEST)
    await one.record(place, DIGEST)
    get = redises[0].client.get

    async def late(name: bytes) -> bytes | None:
        held: bytes | None = await get(name)
        if name.endswith(place):
            seen.set()
            await go_on.wait()
        return held

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(shared_answers, "_SETTLE_S_MAX", 60.0)
        meanwhile.setattr(redises[0].client, "get", late)
        settling = asyncio.create_task(one.settle({}.get))
        await seen.wait()
        meanwhile.setattr(redises[0], "ask", away)
        await one.give(place, DIGEST, b"durable")
        go_on.set()
        await settling

    await one.pay()

    assert await other.begin(place, DIGEST) == b"durable"


async def away(_: object) -> None:
    raise shared_redis.Away


async def test_what_redis_could_not_be_told_is_held_within_a_bound_and_the_oldest_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_answers, "OWED_BYTES_MAX", 4_096)
    redis = SharedRedis(NOBODY_THERE)
    one, places = SharedAnswers(redis, gateway_id="a", secret=SECRET), [os.urandom(32) for _ in range(8)]

    async def held() -> list[int]:
        known = await one.known(places)
        return [index for index, kept in enumerate(known) if kept is not None]

    for place in places[:4]:
        await one.give(place, DIGEST, bytes(600))
    assert await held() == [0, 1, 2, 3]
    for _ in range(20):  # what is given again takes the room of what was given before
        await one.give(places[3], DIGEST, bytes(600))
        await one.free(places[4], DIGEST)
        assert await one.begin(places[4], DIGEST) is None  # and what is free and begun again takes none
    assert await held() == [0, 1, 2, 3]

    for place in places[4:]:
        await one.give(place, DIGEST, bytes(600))

    assert await held() == [4, 5, 6, 7]
    await redis.close()


async def test_what_redis_could_not_be_told_and_is_of_no_use_any_more_is_answered_anew() -> None:
    """As of a batch whose version is gone."""
    place, redis = os.urandom(32), SharedRedis(NOBODY_THERE)
    one = SharedAnswers(redis, gateway_id="a", secret=SECRET)
    await one.give(place, DIGEST, b"of the version before")
    (kept,) = await one.known([place])
    assert kept is not None

    await one.give(place, DIGEST, b"of the next one")
    await one.forget(kept)  # another answer stands there by now
    assert await one.begin(place, DIGEST) == b"of the next one"
    (kept,) = await one.known([place])
    assert kept is not None
    await one.forget(kept)

    assert await one.known([place]) == [None]
    assert await one.begin(place, OTHER) is None
    await redis.close()


async def test_what_redis_could_not_be_told_in_the_time_of_an_answer_is_owed_no_more() -> None:
    clock, place = Clock(), os.urandom(32)
    redis = SharedRedis(NOBODY_THERE)
    one = SharedAnswers(redis, gateway_id="a", secret=SECRET, clock=clock)
    await one.give(place, DIGEST, b"answer")
    clock.now_s += ANSWERS_S - 1
    await one.pay()
    assert await one.begin(place, DIGEST) == b"answer"
    with pytest.raises(errors.IdempotencyConflict):
        await one.begin(place, OTHER)

    clock.now_s += 1
    await one.pay()

    assert await one.begin(place, DIGEST) is None
    await redis.close()


@pytest.fixture
def short_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two seconds, renewed five times as often as they end."""
    monkeypatch.setattr(shared_answers, "CLAIM_S", 2)
    monkeypatch.setattr(shared_answers, "_RENEW_S", 0.2)


@pytest.mark.usefixtures("short_claims")
async def test_the_claim_of_a_gateway_that_never_comes_back_ends(redises: Sequence[SharedRedis]) -> None:
    place = os.urandom(32)
    gone, other = both(redises)
    await gone.begin(place, DIGEST)

    async with asyncio.timeout(30):
        assert await other.begin(place, DIGEST) is None


@pytest.mark.usefixtures("short_claims")
async def test_a_gateway_that_is_slow_and_lives_keeps_its_claim(redises: Sequence[SharedRedis]) -> None:
    place = os.urandom(32)
    slow, other = both(redises)
    await slow.begin(place, DIGEST)
    living = asyncio.create_task(slow.run())
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await other.begin(place, DIGEST)
    finally:
        living.cancel()

    await slow.record(place, DIGEST)
    await slow.give(place, DIGEST, b"late")
    assert await other.begin(place, DIGEST) == b"late"


async def test_a_claim_is_certain_from_when_it_was_renewed_and_one_that_is_lost_only_from_when_it_was_made(
    redises: Sequence[SharedRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Redis cannot be asked about for a moment is recorded as long as nobody else can have it, and no longer."""
    claim_s = 600
    monkeypatch.setattr(shared_answers, "CLAIM_S", claim_s)
    clock, kept, lost, asked = Clock(), os.urandom(32), os.urandom(32), 0
    one = SharedAnswers(redises[0], gateway_id="a", secret=SECRET, clock=clock)
    _, other = both(redises)
    for place in (kept, lost):
        await one.begin(place, DIGEST)
    await redises[1].client.delete(b"amulet:answers:" + lost)
    assert await other.begin(lost, DIGEST) is None
    clock.now_s += claim_s - 1
    await one.renew()
    clock.now_s += claim_s - 1
    ask = redises[0].ask

    async def silent_each_first_time(question: Callable[[], Awaitable[object]]) -> object:
        nonlocal asked
        asked += 1
        if asked % 2:
            raise shared_redis.Away
        return await ask(question)

    monkeypatch.setattr(redises[0], "ask", silent_each_first_time)

    await one.record(kept, DIGEST)
    with pytest.raises(errors.JournalUnavailable):
        await one.record(lost, DIGEST)


async def test_what_may_be_durable_already_is_not_answered_by_another_gateway(redises: Sequence[SharedRedis]) -> None:
    """It is held as long as an answer would be, and as long as its gateway lives."""
    place, name = os.urandom(32), redises[1].client
    one, _ = both(redises)
    await one.begin(place, DIGEST)
    await one.record(place, DIGEST)
    assert await name.ttl(b"amulet:answers:" + place) > ANSWERS_S - 60
    await name.expire(b"amulet:answers:" + place, 1)

    await one.renew()

    assert await name.ttl(b"amulet:answers:" + place) > ANSWERS_S - 60


async def test_who_comes_late_has_recorded_nothing_and_gets_the_other_s_answer(
    redises: Sequence[SharedRedis], gateways: tuple[Replays, Replays]
) -> None:
    """As a gateway that was stopped does: nothing of it ran while its claim ended."""
    (late, other), k, recorded = gateways, key(), list[str]()
    at_work, go_on = asyncio.Event(), asyncio.Event()
    go_on.set()

    def work(replays: Replays, answer: str) -> Callable[[], Awaitable[bytes]]:
        async def made() -> bytes:
            at_work.set()
            await go_on.wait()
            await replays.about_to_record("somchai", k, DIGEST)
            recorded.append(answer)
            return answer.encode()

        return made

    go_on.clear()
    stopped = asyncio.create_task(late.once("somchai", k, DIGEST, work(late, "late"), deadline=LATER))
    await at_work.wait()
    await redises[1].client.delete(b"amulet:answers:" + place_of("somchai", k))
    answering = asyncio.create_task(other.once("somchai", k, DIGEST, work(other, "in time"), deadline=LATER))
    await until(lambda: held_by(redises[1], k, b"gateway-2"), what="the other gateway has taken over")
    go_on.set()

    assert await answering == (b"in time", False)
    assert await stopped == (b"in time", True)
    assert recorded == ["in time"]


async def held_by(redis: SharedRedis, k: str, gateway_id: bytes) -> bool:
    held = await redis.client.get(b"amulet:answers:" + place_of("somchai", k))
    return held is not None and held.endswith(gateway_id)


async def test_an_answer_that_stands_or_is_being_recorded_is_not_replaced_by_one_that_was_begun_without_redis(
    redises: Sequence[SharedRedis],
) -> None:
    """So whoever calls again hears the first, wherever it asks."""
    answered, recorded = os.urandom(32), os.urandom(32)
    one, other = both(redises)
    await one.give(answered, DIGEST, b"first")
    await one.begin(recorded, DIGEST)
    await one.record(recorded, DIGEST)

    for place in (answered, recorded):
        await other.give(place, DIGEST, b"second")
    await one.give(recorded, DIGEST, b"first")

    assert [await other.begin(place, DIGEST) for place in (answered, recorded)] == [b"first", b"first"]


async def test_who_leaves_while_it_waits_leaves_the_claim_where_it_is(redises: Sequence[SharedRedis]) -> None:
    place = os.urandom(32)
    one, other = both(redises)
    await one.begin(place, DIGEST)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await other.begin(place, DIGEST)

    assert await redises[0].client.exists(b"amulet:answers:" + place) == 1


async def test_who_leaves_as_the_claim_becomes_its_own_leaves_none(
    redises: Sequence[SharedRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another gateway would wait for it until it ends."""
    place, claimed = os.urandom(32), asyncio.Event()
    one, other = both(redises)
    ask = redises[0].ask

    async def answered_late(question: Callable[[], Awaitable[object]]) -> object:
        said = await ask(question)
        if not claimed.is_set():
            claimed.set()
            await asyncio.Event().wait()
        return said

    monkeypatch.setattr(redises[0], "ask", answered_late)
    leaving = asyncio.create_task(one.begin(place, DIGEST))
    await claimed.wait()
    assert await redises[1].client.exists(b"amulet:answers:" + place) == 1
    leaving.cancel()
    await asyncio.wait([leaving])

    assert leaving.cancelled()
    assert await redises[1].client.exists(b"amulet:answers:" + place) == 0
    assert await other.begin(place, OTHER) is None


async def test_redis_holds_nothing_that_can_be_read_and_nothing_for_long(redises: Sequence[SharedRedis]) -> None:
    place, answer = os.urandom(32), b"wat rakhang, 0.93"
    one = SharedAnswers(redises[0], gateway_id="a", secret=SECRET)
    await one.give(place, DIGEST, answer)
    name = b"amulet:answers:" + place

    held = await redises[0].client.get(name)
    assert answer not in held
    assert 0 < await redises[0].client.ttl(name) <= ANSWERS_S
    assert await one.begin(place, DIGEST) == answer
    stranger = SharedAnswers(redises[1], gateway_id="b", secret=os.urandom(32))
    assert await stranger.begin(place, DIGEST) is None  # what it cannot open it answers anew
    moved = os.urandom(32)
    await redises[0].client.set(b"amulet:answers:" + moved, held, ex=ANSWERS_S)
    assert await one.begin(moved, DIGEST) is None  # an answer to another call is none


async def test_the_version_that_gateways_agree_on_is_not_held_for_longer_than_answers_are(
    redises: Sequence[SharedRedis],
) -> None:
    place = os.urandom(32)
    one, other = both(redises)

    assert await one.agree(place, "v1", instead_of="") == "v1"
    assert await other.agree(place, "v2", instead_of="") == "v1"

    assert 0 < await redises[0].client.ttl(b"amulet:versions:" + place) <= ANSWERS_S


async def test_what_is_of_no_use_any_more_takes_no_other_gateways_answer_along(redises: Sequence[SharedRedis]) -> None:
    place = os.urandom(32)
    one, other = both(redises)
    await one.give(place, DIGEST, b"of the version before")
    (kept,) = await one.known([place])
    assert kept is not None
    await other.forget(kept)
    await other.give(place, DIGEST, b"of the next one")

    await one.forget(kept)

    assert await one.begin(place, DIGEST) == b"of the next one"


async def test_without_redis_each_gateway_knows_its_own_keys() -> None:
    redis = SharedRedis(NOBODY_THERE)
    alone, k, work = Replays(shared=SharedAnswers(redis, gateway_id="a", secret=SECRET)), key(), Work()

    await alone.settle()

    assert await alone.once("somchai", k, DIGEST, work, deadline=LATER) == (b"answer 1", False)
    assert await alone.once("somchai", k, DIGEST, work, deadline=LATER) == (b"answer 1", True)
    work.fails = True
    with pytest.raises(errors.BackendUnavailable):
        await alone.once("somchai", key(), DIGEST, work, deadline=LATER)
    await redis.close()


async def test_without_redis_a_batch_is_answered_by_the_version_that_its_own_gateway_names() -> None:
    redis, place = SharedRedis(NOBODY_THERE), os.urandom(32)
    alone = SharedAnswers(redis, gateway_id="a", secret=SECRET)

    assert await alone.known([place]) == [None]
    assert await alone.agree(place, "v1", instead_of="") == "v1"
    await alone.forget(Remembered(place, DIGEST, b"of the version before", 0.0))
    await redis.close()


@asynccontextmanager
async def two_gateways(folder: Path, cache_url: str) -> AsyncIterator[tuple[Gateway, Gateway]]:
    turn = new_key().key_id  # the Redis is everybody's, and two tests may run at once
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(
                running_gateway(
                    folder / name,
                    policy=policy(clients=[client(SOMCHAI, calls_per_minute=1_000)]),
                    cache_url=cache_url,
                    gateway_id=f"{name}-{turn}",
                )
            )
            for name in ("gateway-1", "gateway-2")
        ]
        yield first, second


async def asked(gateway: Gateway, request: pb.PredictRequest) -> pb.PredictResponse:
    return await gateway.stub.Predict(request, metadata=SOMCHAI.metadata, timeout=30)


async def test_a_call_made_again_at_another_gateway_counts_once(tmp_path: Path) -> None:
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    request = pb.PredictRequest(
        views=[pb.View(photo=photo())],
        idempotency_key=key(),
        explain=pb.Explain(method=pb.Explain.METHOD_GRAD_CAM, overlay=True),
    )
    another = pb.PredictRequest(views=[pb.View(photo=photo())] * 2, idempotency_key=request.idempotency_key)
    async with two_gateways(tmp_path, REDIS_URL) as (first, second):
        before, again = await asked(first, request), await asked(second, request)
        with pytest.raises(aio.AioRpcError) as conflict:
            await asked(second, another)
        await first.event_of(before)

        assert before.heat_maps[0].overlay_png
        assert not again.heat_maps[0].overlay_png  # it shows the photograph
        assert (again.prediction_id, again.replayed, before.replayed) == (before.prediction_id, True, False)
        assert second.graph.seen == []
        assert second.console.events() == []
        assert refused(conflict.value).code == grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize("kind", ["prediction", "feedback"])
async def test_what_is_on_the_way_to_the_disk_is_marked_for_other_gateways(tmp_path: Path, kind: str) -> None:
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    k, reading = key(), redis.asyncio.Redis.from_url(REDIS_URL)
    place = place_of("client-somchai", k if kind == "prediction" else f"feedback:{k}")
    async with two_gateways(tmp_path, REDIS_URL) as (first, second):
        known = await asked(first, pb.PredictRequest(views=[pb.View(photo=photo())]))

        async def call(gateway: Gateway) -> str:
            if kind == "prediction":
                request = pb.PredictRequest(views=[pb.View(photo=photo())], idempotency_key=k)
                return (await asked(gateway, request)).prediction_id
            given = feedback_on(known)
            given.idempotency_key = k
            return (await gateway.stub.SubmitFeedback(given, metadata=SOMCHAI.metadata)).feedback_id

        with held_disk() as disk:
            begun = asyncio.create_task(call(first))
            await until(disk.asked.is_set, what="it is on the way to the disk")
            held = await reading.get(b"amulet:answers:" + place)
            disk.go_on()
            answer = await begun
        again = await call(second)
    await reading.aclose()

    assert held is not None
    assert held.startswith(b"r")
    assert again == answer


async def test_gateways_without_a_redis_answer_twice(tmp_path: Path) -> None:
    """Negative control."""
    request = pb.PredictRequest(views=[pb.View(photo=photo())], idempotency_key=key())
    async with two_gateways(tmp_path, "memory://") as (first, second):
        before, again = await asked(first, request), await asked(second, request)

    assert before.prediction_id != again.prediction_id
