"""Two gateways with one id: the later one says so and is not ready; one that is started again is held up by nothing."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from gateway import namesakes, shared_redis
from gateway.namesakes import Namesakes
from gateway.shared_redis import Away, SharedRedis
from tests.unit.gateway.admission.test_limits import REDIS_URL, redis_answers
from tests.unit.gateway.cast import policy, running_gateway, until

pytestmark = pytest.mark.servers
NOBODY_THERE = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that a busy machine keeps silent for a tenth of a second is not what is looked at here."""
    monkeypatch.setattr(shared_redis, "_ANSWER_S_MAX", 10.0)


@pytest.fixture
def gateway_id() -> str:
    """One that no other run of the test has used."""
    return f"gateway-{uuid.uuid4().hex}"


@pytest_asyncio.fixture
async def begun(gateway_id: str) -> AsyncIterator[Callable[[], Namesakes]]:
    """Begins a gateway with that id: what it knows of others."""
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    redis = SharedRedis(REDIS_URL)
    yield lambda: Namesakes(redis, gateway_id=gateway_id)
    await redis.client.delete(namesakes._PREFIX + gateway_id.encode())
    await redis.close()


async def look(*gateways: Namesakes) -> list[bool]:
    """Each looks once, in this order: which of them are in trouble."""
    for gateway in gateways:
        await gateway.look()
    return [gateway.trouble is not None for gateway in gateways]


async def test_a_gateway_that_is_alone_has_no_trouble(begun: Callable[[], Namesakes]) -> None:
    alone = begun()
    assert [await look(alone) for _ in range(3)] == [[False]] * 3


async def test_one_that_was_killed_and_is_started_again_at_once_is_not_held_up(begun: Callable[[], Namesakes]) -> None:
    killed = begun()
    await look(killed)
    for _ in range(3):
        again = begun()
        assert [await look(again) for _ in range(3)] == [[False]] * 3


async def test_of_two_that_live_the_later_one_is_in_trouble(begun: Callable[[], Namesakes], gateway_id: str) -> None:
    first, second = begun(), begun()
    assert await look(first, second) == [False, False]  # nobody can tell yet
    assert [await look(first, second) for _ in range(3)] == [[False, True]] * 3
    assert second.trouble == (
        f"another gateway answers as AMULET_GATEWAY_ID {gateway_id} with the same Redis (it was here first): "
        "give each gateway an id of its own"
    )
    third = begun()
    assert await look(third, first, second, third) == [True, False, True, True]


async def test_when_the_first_has_ended_the_second_is_in_no_trouble_any_more(
    begun: Callable[[], Namesakes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namesakes, "TURN_S", 1)
    first, second = begun(), begun()
    await look(first, second)
    assert await look(first, second) == [False, True]

    async def free() -> bool:
        return await look(second) == [False]

    await until(free, what="the first one's turn has ended")
    assert await look(first, second) == [False, True]  # it had only stood still


async def test_of_two_with_one_turn_it_is_one_that_is_in_trouble(
    begun: Callable[[], Namesakes], gateway_id: str
) -> None:
    first, second = begun(), begun()
    await look(first)
    await first._redis.client.delete(namesakes._PREFIX + gateway_id.encode())  # it stood still until it had ended
    await look(second)
    for _ in range(3):
        assert sorted(await look(first, second)) == [False, True]


async def test_each_ones_log_says_which_it_is_and_of_one_that_is_alone_nothing(
    begun: Callable[[], Namesakes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = begun(), begun()
    await look(first, first)
    assert "gateway_id" not in caplog.text

    await look(second, first, second, second)

    told = [caplog.text.count(which) for which in ("a later one is kept from being ready", "it was here first")]
    assert told == [1, 1]


async def test_without_redis_for_a_moment_nobody_is_in_trouble_and_then_the_first_is_still_the_first(
    begun: Callable[[], Namesakes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Away

    first, second = begun(), begun()
    first._name, second._name = "f" * 32, "0" * 32  # by their names it would be the other way
    await look(first, second)
    assert await look(first, second) == [False, True]
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(SharedRedis, "ask", away)
        assert await look(first, second) == [False, False]

    assert [await look(first, second) for _ in range(3)] == [[False, True]] * 3


async def test_others_with_ids_of_their_own_are_no_trouble(begun: Callable[[], Namesakes], gateway_id: str) -> None:
    one = begun()
    other = Namesakes(one._redis, gateway_id=f"{gateway_id}-2")
    assert [await look(one, other) for _ in range(3)] == [[False, False]] * 3


async def test_without_redis_nobody_is_in_trouble(gateway_id: str) -> None:
    redis = SharedRedis(NOBODY_THERE)
    assert await look(Namesakes(redis, gateway_id=gateway_id)) == [False]
    await redis.close()


async def test_the_second_gateway_says_so_where_it_is_asked_whether_it_is_ready(
    begun: Callable[[], Namesakes], gateway_id: str, tmp_path: Path
) -> None:
    async with (
        running_gateway(tmp_path / "1", policy=policy(), gateway_id=gateway_id, cache_url=REDIS_URL) as first,
        running_gateway(tmp_path / "2", policy=policy(), gateway_id=gateway_id, cache_url=REDIS_URL) as second,
    ):

        async def told() -> bool:
            return (await second.page("/readyz"))[0] == 503

        await until(told, what="the second one has seen the first")
        _, page = await second.page("/readyz")
        assert gateway_id in json.loads(page)["problems"]["gateway"]
        status, page = await first.page("/readyz")
        assert (status, json.loads(page)["problems"]) == (200, {})
    async with running_gateway(tmp_path / "1", policy=policy(), gateway_id=gateway_id, cache_url=REDIS_URL) as again:
        assert (await again.page("/readyz"))[0] == 200
