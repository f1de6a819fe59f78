"""The rate limit: exact in every window, for callers side by side, in memory and in Redis."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway import errors, shared_redis
from gateway.admission.limits import WINDOW_S, Hit, MemoryWindow, RateLimiter, Window
from gateway.admission.shared_limits import RedisWindow
from gateway.shared_redis import Away, SharedRedis

REDIS_URL = os.environ.get("AMULET_TEST_REDIS_URL", "redis://127.0.0.1:6379/9")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def redis_answers() -> bool:
    url = urlsplit(REDIS_URL)
    try:
        socket.create_connection((url.hostname or "", url.port or 6379), timeout=1).close()
    except OSError:
        return False
    return True


async def admitted(window: Window, name: str, limit: int, calls: int) -> int:
    """How many of so many calls side by side are let in."""
    answers = await asyncio.gather(*(window.hit(name, limit) for _ in range(calls)))
    return sum(answer.wait_s is None for answer in answers)


@pytest_asyncio.fixture
async def redis_windows() -> AsyncIterator[tuple[RedisWindow, RedisWindow]]:
    """Two gateways that share a Redis."""
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    redises = SharedRedis(REDIS_URL), SharedRedis(REDIS_URL)
    yield RedisWindow(redises[0]), RedisWindow(redises[1])
    for each in redises:
        await each.close()


async def test_the_101st_call_in_a_minute_is_refused_and_told_when_to_come_back() -> None:
    clock = Clock()
    limiter = RateLimiter(MemoryWindow(clock))
    for _ in range(100):
        await limiter.admit("somchai", kind="predictions", calls_per_minute=100)
        clock.now_s += 0.1

    with pytest.raises(errors.RateLimited) as refused:
        await limiter.admit("somchai", kind="predictions", calls_per_minute=100)

    wait_s = refused.value.retry_after_s
    assert wait_s == pytest.approx(WINDOW_S - 10)
    clock.now_s += wait_s or 0
    await limiter.admit("somchai", kind="predictions", calls_per_minute=100)


@pytest.mark.parametrize("later_s", [0.0, 17.77, 59.96])
async def test_whoever_calls_again_when_the_refusal_says_is_let_in(later_s: float) -> None:
    clock = Clock()
    limiter = RateLimiter(MemoryWindow(clock))
    await limiter.admit("somchai", kind="predictions", calls_per_minute=1)
    clock.now_s += later_s
    with pytest.raises(errors.RateLimited) as refused:
        await limiter.admit("somchai", kind="predictions", calls_per_minute=1)

    said = re.fullmatch(r"call again in (\d+\.\d) s", refused.value.wanted)
    assert said
    clock.now_s += float(said[1])
    await limiter.admit("somchai", kind="predictions", calls_per_minute=1)


async def test_clients_and_kinds_are_counted_apart() -> None:
    limiter = RateLimiter(MemoryWindow(Clock()))
    for client_id, kind in (("a", "predictions"), ("b", "predictions"), ("a", "feedback")):
        await limiter.admit(client_id, kind=kind, calls_per_minute=1)

    with pytest.raises(errors.RateLimited):
        await limiter.admit("a", kind="predictions", calls_per_minute=1)


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 8), st.booleans()), min_size=1, max_size=120),
    st.integers(1, 12),
)
async def test_no_window_ever_holds_more_than_the_limit_and_nobody_below_it_is_refused(
    comings: list[tuple[float, int, bool]], limit: int
) -> None:
    """Each coming: seconds since the one before, so many calls together, and whether they are taken back."""
    clock = Clock()
    window = MemoryWindow(clock)
    let_in: list[float] = []
    for pause_s, calls, taken_back in comings:
        clock.now_s += pause_s
        inside = [at_s for at_s in let_in if at_s > clock.now_s - WINDOW_S]

        hit = window.hit_now("somchai", limit, calls)

        assert (hit.wait_s is None) == (len(inside) + calls <= limit)
        if hit.wait_s is not None:
            assert 0 < hit.wait_s <= WINDOW_S
            if calls <= limit:  # so many have left by then, and not before
                leave_at_s = inside[len(inside) + calls - limit - 1] + WINDOW_S
                assert hit.wait_s == pytest.approx(leave_at_s - clock.now_s)
        elif taken_back:
            window.take_back_now(hit)
        else:
            let_in += [clock.now_s] * calls


async def test_a_lowered_limit_holds_at_once() -> None:
    window = MemoryWindow(Clock())
    assert await admitted(window, "somchai", 10, 10) == 10

    assert await admitted(window, "somchai", 5, 1) == 0


async def test_callers_that_are_gone_are_forgotten() -> None:
    clock = Clock()
    window = MemoryWindow(clock)
    for number in range(1000):
        window.hit_now(f"caller-{number}", 100)
    clock.now_s += 2 * WINDOW_S

    window.hit_now("somchai", 100)

    assert len(window._calls) == 1


async def test_gone_callers_are_looked_for_once_a_window_and_not_with_every_call() -> None:
    clock = Clock()
    window = MemoryWindow(clock)
    clock.now_s += 1.0
    window.hit_now("gone", 100)
    known = []
    for _ in range(3):
        clock.now_s += WINDOW_S - 0.5
        window.hit_now("somchai", 100)
        known.append(set(window._calls))

    assert known == [{"gone", "somchai"}, {"gone", "somchai"}, {"somchai"}]


async def test_side_by_side_callers_of_one_gateway_get_exactly_the_limit() -> None:
    assert await admitted(MemoryWindow(), "somchai", 100, 640) == 100


@pytest.mark.servers
async def test_side_by_side_callers_of_two_gateways_get_exactly_the_limit(
    redis_windows: tuple[RedisWindow, RedisWindow],
) -> None:
    name = f"test-{uuid.uuid4()}"

    counts = await asyncio.gather(*(admitted(window, name, 100, 64) for window in redis_windows * 2))

    assert sum(counts) == 100
    wait_s = (await redis_windows[0].hit(name, 100)).wait_s
    assert wait_s is not None
    assert 0 < wait_s <= WINDOW_S
    async with redis.asyncio.Redis.from_url(REDIS_URL) as there:
        assert 0 < await there.pttl(f"amulet:calls:{name}") <= WINDOW_S * 1000  # who calls no more is forgotten


async def a_batch_is_counted_whole_or_not_at_all(one: Window, other: Window, name: str) -> None:
    assert await admitted(one, name, 10, 6) == 6

    for window in (one, other, one):  # again and again: it costs nothing
        refused = await window.hit(name, 10, 8)
        assert refused.wait_s is not None
        assert 0 < refused.wait_s <= WINDOW_S

    assert (await one.hit(name, 10, 4)).wait_s is None
    assert await admitted(one, name, 10, 1) == 0
    assert (await other.hit(name, 10, 11)).wait_s == WINDOW_S  # it never fits


async def what_is_taken_back_was_never_there(one: Window, other: Window, name: str) -> None:
    first = await one.hit(name, 10, 3)
    assert await admitted(other, name, 10, 7) == 7

    await one.take_back(first)

    assert await admitted(other, name, 10, 10) == 3


BOTH = [a_batch_is_counted_whole_or_not_at_all, what_is_taken_back_was_never_there]


@pytest.mark.parametrize("holds", BOTH)
async def test_in_memory(holds: Callable[[Window, Window, str], Awaitable[None]]) -> None:
    window = MemoryWindow()

    await holds(window, window, "somchai")


@pytest.mark.servers
@pytest.mark.parametrize("holds", BOTH)
async def test_over_two_gateways(
    redis_windows: tuple[RedisWindow, RedisWindow], holds: Callable[[Window, Window, str], Awaitable[None]]
) -> None:
    await holds(*redis_windows, f"test-{uuid.uuid4()}")


@pytest.mark.parametrize("back_s", [1, 3600, 86_400])
async def test_a_redis_whose_clock_was_set_back_refuses_nobody_for_longer_than_a_window(
    redis_windows: tuple[RedisWindow, RedisWindow], back_s: int
) -> None:
    window, name = redis_windows[0], uuid.uuid4().hex
    assert await admitted(window, name, 5, 4) == 4
    async with redis.asyncio.Redis.from_url(REDIS_URL) as there:
        place = f"amulet:calls:{name}"
        # What it holds when its clock is so far behind where it was.
        for number, at in enumerate(await there.lrange(place, 0, -1)):
            await there.lset(place, number, int(at) + back_s * 1_000_000)
        await there.pexpire(place, int((WINDOW_S + back_s) * 1000))
        waits_s = [(await window.hit(name, 5)).wait_s for _ in range(2)]
        assert waits_s[0] is None  # whom the limit still lets in
        assert waits_s[1] is not None  # and no more than the limit
        assert WINDOW_S / 2 < waits_s[1] <= WINDOW_S
        assert await there.pttl(place) <= WINDOW_S * 1000
        assert [await there.llen(place), await there.delete(place)] == [5, 1]


@pytest.mark.servers
async def test_over_two_gateways_a_batch_is_told_to_wait_until_all_of_it_fits(
    redis_windows: tuple[RedisWindow, RedisWindow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_redis, "_ANSWER_S_MAX", 10.0)  # of a busy machine
    (first, second), name = redis_windows, uuid.uuid4().hex
    async with redis.asyncio.Redis.from_url(REDIS_URL) as there:
        place = f"amulet:calls:{name}"
        seconds, _ = await there.time()
        await there.rpush(place, *((seconds - ago_s) * 1_000_000 for ago_s in (40, 10)))

        one, batch, too_large = await first.hit(name, 2), await second.hit(name, 2, 2), await first.hit(name, 2, 3)

        assert [await there.llen(place), await there.delete(place)] == [2, 1]  # none of them was counted
    assert one.wait_s is not None
    assert 0.0 < one.wait_s <= 20.0
    assert batch.wait_s is not None
    assert 30.0 < batch.wait_s <= 50.0
    assert too_large.wait_s == WINDOW_S


async def test_a_batch_larger_than_the_limit_is_told_what_would_fit() -> None:
    limiter = RateLimiter(MemoryWindow(Clock()))
    await limiter.admit("somchai", kind="predictions", calls_per_minute=7)

    with pytest.raises(errors.RateLimited, match="8 calls at once are more than the limit of 7") as refused:
        await limiter.admit("somchai", kind="predictions", calls_per_minute=7, calls=7, counted=1)

    assert refused.value.wanted == "send at most 7 at once"
    assert refused.value.retry_after_s == WINDOW_S


async def test_a_batch_of_exactly_the_limit_is_told_to_wait_and_not_that_it_is_too_large() -> None:
    clock = Clock()
    limiter = RateLimiter(MemoryWindow(clock))
    await limiter.admit("somchai", kind="predictions", calls_per_minute=7)

    with pytest.raises(errors.RateLimited, match="the limit of 7 calls in any 60 seconds is reached") as refused:
        await limiter.admit("somchai", kind="predictions", calls_per_minute=7, calls=7)

    clock.now_s += refused.value.retry_after_s or 0
    await limiter.admit("somchai", kind="predictions", calls_per_minute=7, calls=7)


async def test_what_is_taken_back_after_its_window_is_over_takes_nothing_else_along() -> None:
    clock = Clock()
    window = MemoryWindow(clock)
    first = window.hit_now("somchai", 10, 3)
    clock.now_s += WINDOW_S
    later = window.hit_now("somchai", 10, 6)

    window.take_back_now(first)

    assert await admitted(window, "somchai", 10, 10) == 4
    window.take_back_now(later)
    clock.now_s += 2 * WINDOW_S
    window.take_back_now(later)  # of whom nothing is left
    assert await admitted(window, "somchai", 10, 11) == 10


async def test_what_came_after_what_is_taken_back_leaves_in_the_order_in_which_it_came() -> None:
    clock = Clock()
    window = MemoryWindow(clock)
    first = window.hit_now("somchai", 3)
    for _ in range(2):
        clock.now_s += 10.0
        window.hit_now("somchai", 3)

    window.take_back_now(first)

    assert window.hit_now("somchai", 2).wait_s == WINDOW_S - 10.0


async def test_without_redis_each_gateway_counts_for_itself() -> None:
    shared = SharedRedis("redis://127.0.0.1:1/0")
    window = RedisWindow(shared)

    assert await admitted(window, "somchai", 10, 30) == 10

    await shared.close()


async def test_what_was_counted_without_redis_is_taken_back_without_it() -> None:
    shared = SharedRedis("redis://127.0.0.1:1/0")
    window = RedisWindow(shared)
    hit = await window.hit("somchai", 10, 4)
    assert not hit.shared
    assert await admitted(window, "somchai", 10, 2) == 2

    assert (await window.hit("somchai", 10, 5)).wait_s is not None  # all of them are counted
    await window.take_back(hit)

    assert await admitted(window, "somchai", 10, 30) == 8
    await shared.close()


async def test_a_call_that_redis_has_counted_is_refused_in_its_own_words_though_redis_is_away_by_then() -> None:
    """Its count stays until the window is over; an error of ours would reach the caller in place of the refusal."""
    shared = SharedRedis("redis://127.0.0.1:1/0")

    await RedisWindow(shared).take_back(Hit("somchai", 1, None, at=1_000_000.0, shared=True))

    await shared.close()


async def test_a_redis_that_is_away_is_asked_once_a_second_however_often_it_was_in_vain() -> None:
    clock, asked = Clock(), 0

    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    async with await asyncio.start_server(turn_away, "127.0.0.1", 0) as server:
        shared = SharedRedis(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", clock)
        window = RedisWindow(shared, clock)
        with capture_logs() as lines:
            for _ in range(4):
                before = asked
                assert await admitted(window, "somchai", 1000, 1) == 1
                assert asked > before
                before = asked
                assert await admitted(window, "somchai", 1000, 5) == 5
                assert asked == before
                clock.now_s += 1.0
        await shared.close()
    assert [line["event"] for line in lines] == ["redis_away"]  # once in an outage


async def test_of_those_who_come_as_redis_falls_silent_no_more_than_its_connections_wait_for_it() -> None:
    """The others would, four at a time, and the last of a hundred for seconds."""
    redis, asked = SharedRedis("redis://127.0.0.1:1/0"), 0

    async def silence() -> None:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()

    ends = await asyncio.gather(*(redis.ask(silence) for _ in range(30)), return_exceptions=True)

    assert [type(end) for end in ends] == [Away] * 30
    assert asked == 4
    await redis.close()


class Wire:
    """Between a gateway and its Redis. While it is mute it takes connections and what they say, and is silent."""

    def __init__(self) -> None:
        self.mute = False
        self.hangs_up = False  # on whoever says something next, and once
        self.heard = asyncio.Event()  # something came while it was mute
        self.connections: set[asyncio.StreamWriter] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(REDIS_URL)
        self.connections.add(writer)
        there: asyncio.StreamWriter | None = None
        back: asyncio.Task[None] | None = None
        try:
            while said := await reader.read(2**16):
                if self.mute:
                    self.heard.set()
                    continue
                if self.hangs_up:
                    self.hangs_up = False
                    return
                if there is None:
                    here, there = await asyncio.open_connection(url.hostname or "", url.port or 6379)
                    back = asyncio.create_task(self._back(here, writer))
                there.write(said)
        finally:
            self.connections.discard(writer)
            for end in (writer, there):
                if end is not None:
                    end.close()
            if back is not None:
                back.cancel()

    async def _back(self, here: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await here.read(2**16):
            if not self.mute:
                writer.write(said)


@asynccontextmanager
async def wired(clock: Clock) -> AsyncIterator[tuple[RedisWindow, Wire]]:
    """A window whose Redis is at the far end of a wire."""
    wire = Wire()
    async with await asyncio.start_server(wire.carry, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        shared = SharedRedis(f"redis://127.0.0.1:{port}{urlsplit(REDIS_URL).path}", clock)
        window = RedisWindow(shared, clock)
        yield window, wire
        await shared.close()


async def test_one_call_at_a_time_asks_a_silent_redis_and_no_other_waits_for_it() -> None:
    clock = Clock()
    async with wired(clock) as (window, wire):
        wire.mute = True
        assert await admitted(window, "somchai", 10, 30) == 10
        clock.now_s += 1.0
        wire.heard.clear()
        asks = asyncio.create_task(window.hit("malee", 10))
        await wire.heard.wait()

        others = [await window.hit("suda", 100) for _ in range(200)]

        assert not asks.done()
        assert sum(other.wait_s is None for other in others) == 100
        assert len(wire.connections) == 1
        assert (await asks).wait_s is None  # counted alone, as the others are


@pytest.mark.servers
async def test_a_connection_that_redis_has_closed_meanwhile_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so with those that nobody used for a while; the whole limit would be let in once more."""
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    monkeypatch.setattr(shared_redis, "_ANSWER_S_MAX", 10.0)  # of a busy machine
    name = f"test-{uuid.uuid4()}"
    async with wired(Clock()) as (window, wire):
        assert (await window.hit(name, 2)).shared
        wire.hangs_up = True

        second, third = await window.hit(name, 2), await window.hit(name, 2)

    assert not wire.hangs_up
    assert second.shared
    assert third.wait_s is not None


@pytest.mark.servers
async def test_a_redis_that_speaks_again_is_asked_again_within_a_second() -> None:
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    clock, name = Clock(), f"test-{uuid.uuid4()}"
    async with wired(clock) as (window, wire), wired(clock) as (other, _):
        assert await admitted(other, name, 10, 4) == 4
        wire.mute = True
        assert await admitted(window, name, 10, 30) == 10
        wire.mute = False
        clock.now_s += 1.0

        assert await admitted(window, name, 10, 1) == 1

        assert await admitted(window, name, 10, 30) == 5


@pytest.mark.servers
async def test_a_loop_that_was_held_up_says_nothing_of_redis() -> None:
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    name = f"test-{uuid.uuid4()}"
    async with wired(Clock()) as (window, _), wired(Clock()) as (other, _):
        assert await admitted(window, name, 10, 10) == 10
        asyncio.get_running_loop().call_later(0, time.sleep, 0.3)  # what holds it up, not a wait for something

        assert await admitted(window, name, 10, 30) == 0

        assert await admitted(other, name, 10, 30) == 0
