"""What is asked again on its own: never what may count twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from amulet_client import AmuletError, AsyncClient, Client, ConnectionOptions, Refused, Unreachable
from amulet_client.connection import TRIES_MAX
from amulet_client.repeating import Attempts
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from tests.unit.client.cast import KEY, Gateway

Ask = Callable[..., Awaitable[Any]]  # the name of a call and its arguments, of either client


@pytest.fixture
def gateway() -> Iterator[tuple[Gateway, str]]:
    server, service = grpc.server(ThreadPoolExecutor(4)), Gateway()
    rpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(params=["threads", "asyncio"])
def ask(request: pytest.FixtureRequest, gateway: tuple[Gateway, str]) -> Ask:
    async def threads(call: str, *arguments: Any, **wishes: Any) -> Any:
        with Client(gateway[1], api_key=KEY, plaintext=True) as client:
            return getattr(client, call)(*arguments, **wishes)

    async def loop(call: str, *arguments: Any, **wishes: Any) -> Any:
        async with AsyncClient(gateway[1], api_key=KEY, plaintext=True) as client:
            return await getattr(client, call)(*arguments, **wishes)

    return threads if request.param == "threads" else loop


async def test_a_prediction_whose_connection_broke_is_not_made_twice(gateway: tuple[Gateway, str], ask: Ask) -> None:
    gateway[0].breaks_left = 1

    with pytest.raises(Unreachable, match="Socket closed") as broken:
        await ask("predict", [b"amulet"])

    assert (broken.value.code, broken.value.sent) == ("UNAVAILABLE", True)
    assert gateway[0].keys == [""]


async def test_under_a_key_it_is_asked_again(gateway: tuple[Gateway, str], ask: Ask) -> None:
    gateway[0].breaks_left = 2

    assert (await ask("predict", [b"amulet"], idempotency_key="k")).prediction_id == "p1"

    assert gateway[0].keys == ["k", "k", "k"]


async def test_what_the_gateway_itself_refused_for_now_is_asked_again(gateway: tuple[Gateway, str], ask: Ask) -> None:
    gateway[0].refusals_left = TRIES_MAX - 1

    assert (await ask("predict", [b"amulet"])).prediction_id == "p1"

    assert (gateway[0].calls, gateway[0].keys) == (TRIES_MAX, [""])


async def test_a_gateway_that_goes_on_refusing_is_left_alone(gateway: tuple[Gateway, str], ask: Ask) -> None:
    gateway[0].refusals_left = 1_000

    with pytest.raises(Refused, match="shutting down"):
        await ask("predict", [b"amulet"], idempotency_key="k")

    assert gateway[0].calls == TRIES_MAX


async def test_feedback_that_is_repeated_carries_the_same_key(gateway: tuple[Gateway, str], ask: Ask) -> None:
    gateway[0].breaks_left = 1
    await ask("feedback", "p1", kind="wrong")
    await ask("feedback", "p1", kind="wrong")
    await ask("feedback", "p1", kind="wrong", idempotency_key="mine")

    first, again, another, mine = gateway[0].keys
    assert first == again
    assert len({first, another, mine}) == 3
    assert all((first, another))
    assert mine == "mine"


NOT_SENT = Unreachable("no connection", code="UNAVAILABLE", sent=False)
BROKEN = Unreachable("Socket closed", code="UNAVAILABLE")
LATE = Unreachable("too late", code="DEADLINE_EXCEEDED")
DOWN = Refused("down", "REASON_BACKEND_UNAVAILABLE", "UNAVAILABLE")
WRONG = Refused("wrong", "REASON_FIELD_INVALID", "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("error", "key", "again"),
    [
        (NOT_SENT, "", True),
        (NOT_SENT, "k", True),
        (BROKEN, "", False),
        (BROKEN, "k", True),
        (LATE, "", False),
        (LATE, "k", False),
        (DOWN, "", True),
        (DOWN, "k", True),
        (WRONG, "", False),
        (WRONG, "k", False),
    ],
)
def test_a_prediction_is_repeated_where_it_had_no_effect_or_has_a_key(
    error: AmuletError, key: str, again: bool
) -> None:
    attempts = Attempts.of_prediction(ConnectionOptions("127.0.0.1:1", api_key=KEY, plaintext=True), key)

    waits_s = [attempts.wait_s(error) for _ in range(TRIES_MAX)]

    if again:
        assert [wait_s is not None for wait_s in waits_s] == [True] * (TRIES_MAX - 1) + [False]
        assert [round(wait_s or 0) for wait_s in (waits_s[0], waits_s[2])] == [0, 1]  # 0.2 s, then 1.25 s
    else:
        assert waits_s == [None] * TRIES_MAX


def test_no_attempt_is_begun_for_which_there_is_no_time() -> None:
    options = ConnectionOptions("127.0.0.1:1", api_key=KEY, plaintext=True, timeout_s=0.1)

    assert Attempts.of_prediction(options, "k").wait_s(DOWN) is None


def test_a_wait_that_the_gateway_asked_for_gives_the_next_attempt_its_whole_time() -> None:
    options = ConnectionOptions("127.0.0.1:1", api_key=KEY, plaintext=True, timeout_s=10.0, wait_s_max=50.0)
    attempts = Attempts(options)

    assert attempts.wait_s(Refused("busy", "REASON_RATE_LIMITED", "RESOURCE_EXHAUSTED", retry_after_s=40.0)) == 40.0

    assert attempts.left_s > 49.0
    assert attempts.wait_s(Refused("busy", "REASON_RATE_LIMITED", "RESOURCE_EXHAUSTED", retry_after_s=40.0)) is None
