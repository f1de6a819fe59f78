"""Calls that begin and whose message does not come, over a real port."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships without stubs

from gateway import errors
from gateway.admission.arrivals import Arrivals
from gateway.admission.limits import MemoryWindow, RateLimiter
from gateway.call import Call
from gateway.door import Admission
from gateway.server import STRANGERS_AWAITED_MAX, awaited_max
from gateway.snapshot import Client, Key
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.gateway.cast import (
    SOMCHAI,
    ApiKey,
    Gateway,
    Refused,
    client,
    kept_revision,
    new_key,
    photo,
    policy,
    refusal_of,
    running_gateway,
    until,
)

CALLS: Final = 2
PLACES: Final = awaited_max(CALLS)
GREEDY: Final = new_key()
CLIENTS: Final = [
    client(SOMCHAI, calls_per_minute=10_000),
    client(GREEDY, client_id="client-greedy", calls_per_minute=10_000),
]
LATE_S: Final = 0.5


class Begun:
    """Calls with one message that send what they are told to: to the wire a call with one is a stream of one."""

    def __init__(self, gateway: Gateway, method: str = "/amulet.v1.PredictionService/Predict") -> None:
        self._gateway = gateway
        self._method: Any = gateway.channel.stream_unary(method)  # bytes as they are
        self._metric = f"amulet_calls_awaited{'' if 'amulet' in method else '_without_key'}"
        self.calls: list[Any] = []

    def one(self, key: ApiKey | None) -> Any:
        return self._method(metadata=key.metadata if key else None)

    async def more(self, count: int, key: ApiKey | None) -> None:
        """Once the gateway waits for their messages."""
        awaited = await self._gateway.metric(self._metric)
        self.calls += [self.one(key) for _ in range(count)]

        async def here() -> bool:
            return await self._gateway.metric(self._metric) == awaited + count

        await until(here, what="the gateway waits for the messages")

    async def until_none_is_awaited(self) -> None:
        async def none() -> bool:
            return await self._gateway.metric(self._metric) == 0

        await until(none, what="the places are given back")

    def leave(self) -> None:
        for call in self.calls:
            call.cancel()


async def send(call: Any) -> None:
    await call.write(pb.PredictRequest(views=[pb.View(photo=photo())]).SerializeToString())
    await call.done_writing()


def is_told_to_wait(found: Refused) -> bool:
    return (found.code, found.reason, bool(found.retry_after_s)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        words.REASON_OVERLOADED,
        True,
    )


async def test_who_begins_calls_and_sends_nothing_leaves_room_for_others(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(clients=CLIENTS), calls_in_flight_max=CALLS) as gateway:
        greedy = Begun(gateway)
        await greedy.more(PLACES, GREEDY)
        beyond = await refusal_of(greedy.one(GREEDY))
        answered = await gateway.predict(photo())
        ended = await refusal_of(greedy.calls[-1])
        await send(greedy.calls[0])
        late = pb.PredictResponse.FromString(await greedy.calls[0])
        greedy.leave()
        await greedy.until_none_is_awaited()

    assert is_told_to_wait(beyond)
    assert f"{PLACES} calls are awaited already, {PLACES} of them this client's" in beyond.message
    assert answered.prediction_id
    assert is_told_to_wait(ended)
    assert "went to a client that has fewer" in ended.message
    assert late.prediction_id


async def test_a_call_that_finds_no_place_any_more_does_not_count(tmp_path: Path) -> None:
    clients = [client(SOMCHAI, calls_per_minute=3), client(GREEDY, client_id="client-greedy")]
    async with running_gateway(tmp_path, policy=policy(clients=clients), calls_in_flight_max=1) as gateway:
        begun = Begun(gateway)
        await begun.more(3, SOMCHAI)  # counted when they began: the limit is reached
        gateway.graph.hold()
        working = asyncio.create_task(gateway.predict(photo(), metadata=GREEDY.metadata))
        await until(lambda: bool(gateway.graph.versions_asked), what="another one has the only place")
        waiting, *turned_away = begun.calls
        await send(waiting)

        async def waits() -> bool:
            return await gateway.metric("amulet_calls_waiting") == 1

        await until(waits, what="the first of them waits")
        for call in turned_away:
            await send(call)
        found = [await refusal_of(call) for call in turned_away]
        gateway.graph.release()
        await asyncio.gather(working, waiting)

        answered = [await gateway.predict(photo()) for _ in range(2)]
        beyond = await refusal_of(gateway.predict(photo()))

    assert all(is_told_to_wait(one) for one in found)
    assert len(answered) == 2
    assert beyond.reason == words.REASON_RATE_LIMITED


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (errors.Overloaded.for_now("full"), False),
        (errors.ShuttingDown("bye"), False),
        (errors.RateLimited("too many", retry_after_s=1.0), False),
        (errors.PhotoCorrupt("broken"), True),
        (errors.BackendUnavailable("down"), True),
        (RuntimeError("ours"), True),
    ],
)
async def test_who_is_sent_away_for_later_does_not_count_and_who_was_wrong_or_met_a_fault_does(
    error: Exception, counts: bool
) -> None:
    """Elsewhere too, where gateways count together: who is told to come again counts once."""
    parts: Any = [None] * 5  # a call's limit needs none of them
    admission = Admission(parts[0], RateLimiter(MemoryWindow()), *parts[1:], key_secret=b"")
    key = Key("k", b"", revoked=False, expires_at=None, client=Client("client-somchai", 3, frozenset()))
    call = Call("ModelInfer", key=key)
    await admission.count(call, "predictions")
    await admission.count(call, "predictions", calls=2)  # what its batch is beyond it

    await admission.uncount(call, error)

    if not counts:
        await admission.count(Call("Predict", key=key), "predictions", calls=3)
    with pytest.raises(errors.RateLimited):
        await admission.count(Call("Predict", key=key), "predictions")


async def test_health_checks_that_send_nothing_leave_room_for_those_with_a_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(), calls_in_flight_max=CALLS) as gateway:
        checks = Begun(gateway, "/grpc.health.v1.Health/Check")
        await checks.more(STRANGERS_AWAITED_MAX, None)
        beyond = await refusal_of(checks.one(None))
        answered = await gateway.predict(photo())
        checks.leave()
        await checks.until_none_is_awaited()
        found = await health_pb2_grpc.HealthStub(gateway.channel).Check(health_pb2.HealthCheckRequest())

    assert is_told_to_wait(beyond)
    assert answered.prediction_id
    assert found.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_message_that_does_not_come_ends_its_call(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(), request_s_max=LATE_S) as gateway:
        found = await refusal_of(Begun(gateway).one(SOMCHAI))

    assert (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, words.REASON_DEADLINE_EXCEEDED)
    assert f"the message was not here {LATE_S:g} s after the call began" in found.message


async def test_a_call_without_a_message_is_told_to_send_one(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        call = Begun(gateway).one(SOMCHAI)
        await call.done_writing()
        found = await refusal_of(call)

    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, words.REASON_FIELD_INVALID)
    assert found.message == "the call ended without a message; send one"


async def test_a_key_revoked_while_the_message_is_on_its_way_is_revoked(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        begun = Begun(gateway)
        await begun.more(1, SOMCHAI)
        gateway.console.issue(policy(revision=2, clients=[client(revoked=True)]))
        await until(lambda: kept_revision(gateway) == 2, what="the policy is heard")
        (call,) = begun.calls
        await call.write(pb.PredictRequest(views=[pb.View(photo=photo())]).SerializeToString())
        await call.done_writing()
        found = await refusal_of(call)

    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, words.REASON_KEY_REVOKED)


async def test_calls_whose_message_never_comes_do_not_hold_up_the_gateways_end(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(), request_s_max=600.0) as gateway:
        begun = Begun(gateway)
        await begun.more(1, SOMCHAI)
        gateway.stop.set()
        (call,) = begun.calls
        found = await refusal_of(call)
        async with asyncio.timeout(60):
            await gateway.task

    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_SHUTTING_DOWN)


async def test_a_fault_of_the_reader_is_no_lateness() -> None:
    async def fault() -> None:
        raise TimeoutError("of its own")

    arrivals = Arrivals(2, arrive_s_max=60)
    with pytest.raises(TimeoutError, match="of its own"):
        await arrivals.message("a", fault)
    assert arrivals.awaited == 0


async def at_once() -> None:
    """The message is here already."""


async def test_a_place_goes_to_who_has_fewer_and_never_from_who_has_as_few() -> None:
    arrivals, never = Arrivals(4, arrive_s_max=60), asyncio.Event()
    for gone in ("c", "d", "e"):  # who has no call any more has no share
        await arrivals.message(gone, at_once)

    async def begin(client_id: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(arrivals.message(client_id, never.wait))
        await asyncio.sleep(0)
        return task

    first = [await begin("a") for _ in range(4)]
    second = [await begin("b") for _ in range(2)]
    found = await asyncio.gather(*first[2:], *(await begin("a"), await begin("b")), return_exceptions=True)

    assert [type(each) for each in found] == [errors.Overloaded] * 4
    assert not any(task.done() for task in (*first[:2], *second))
    assert arrivals.awaited == 4
    arrivals.close()
    ended = await asyncio.gather(*first[:2], *second, return_exceptions=True)
    assert [type(each) for each in ended] == [errors.ShuttingDown] * 4
    assert arrivals.awaited == 0


@pytest.mark.parametrize(
    ("places", "inside", "comes"),
    [(5, "aaabb", "b"), (5, "aaabb", "a"), (2, "ab", "c")],
    ids=["has its share", "has most", "as many clients as places"],
)
async def test_a_full_house_refuses_who_has_a_share_or_where_nobody_has_more(
    places: int, inside: str, comes: str
) -> None:
    arrivals, never = Arrivals(places, arrive_s_max=60), asyncio.Event()
    calls = [asyncio.create_task(arrivals.message(client_id, never.wait)) for client_id in inside]
    await asyncio.sleep(0)

    with pytest.raises(errors.Overloaded):
        await asyncio.wait_for(arrivals.message(comes, never.wait), 10)

    assert not any(call.done() for call in calls)
    arrivals.close()
    await asyncio.gather(*calls, return_exceptions=True)


class Late:
    """Calls whose time is over, and which have not ended yet."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals, self._ended = arrivals, asyncio.Event()
        self.calls: list[asyncio.Task[Any]] = []
        self._over = 0

    async def more(self, count: int, client_id: str) -> None:
        self.calls += [asyncio.create_task(self._arrivals.message(client_id, self._read)) for _ in range(count)]
        await until(lambda: self._over == len(self.calls), what="their time is over")

    async def end(self) -> list[Any]:
        self._ended.set()
        return await asyncio.gather(*self.calls, return_exceptions=True)

    async def _read(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self._over += 1
            await self._ended.wait()


async def test_a_call_whose_time_is_just_over_makes_room_and_says_why_by_itself() -> None:
    arrivals = Arrivals(2, arrive_s_max=0.01)
    late = Late(arrivals)
    await late.more(2, "a")

    await arrivals.message("b", at_once)

    assert [type(each) for each in await late.end()] == [errors.DeadlineExceeded] * 2
    assert arrivals.awaited == 0


async def test_a_gateway_ends_while_the_time_of_a_call_is_just_over() -> None:
    arrivals = Arrivals(2, arrive_s_max=0.01)
    late = Late(arrivals)
    await late.more(1, "a")

    arrivals.close()

    assert [type(each) for each in await late.end()] == [errors.ShuttingDown]


@pytest.mark.parametrize(("arrive_s_max", "last_s"), [(0.01, 3600.0), (3600.0, 0.01)])
async def test_when_the_gateway_ends_a_call_is_waited_for_the_shorter_of_its_time_and_the_last(
    arrive_s_max: float, last_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.admission.arrivals.LAST_S", last_s)
    arrivals, never = Arrivals(2, arrive_s_max=arrive_s_max), asyncio.Event()
    begun = asyncio.create_task(arrivals.message("a", never.wait))
    await asyncio.sleep(0)

    arrivals.close()

    with pytest.raises(errors.ShuttingDown):
        await asyncio.wait_for(begun, 60)


async def test_a_call_that_comes_when_the_gateway_ends_is_waited_for_no_longer_than_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.admission.arrivals.LAST_S", 0.01)
    arrivals = Arrivals(2, arrive_s_max=3600.0)
    arrivals.close()

    with pytest.raises(errors.ShuttingDown):
        await asyncio.wait_for(arrivals.message("a", asyncio.Event().wait), 60)
