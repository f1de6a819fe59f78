"""Streams of two clients that together want more than there are, over a real port."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships without stubs
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]  # ships without stubs
    reflection_pb2,
    reflection_pb2_grpc,
)

from amulet_client import AsyncClient
from gateway import errors, server
from gateway.admission.streams import _HEARD_S, Streams
from gateway.server import STRANGERS_STREAMS_MAX, streams_max
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.gateway.cast import (
    SOMCHAI,
    ApiKey,
    Gateway,
    Refused,
    client,
    new_key,
    photo,
    policy,
    refused,
    running_gateway,
    until,
)

CALLS: Final = 2  # one may be held, and another is answered
PLACES: Final = streams_max(CALLS)
GREEDY: Final = new_key()
CLIENTS: Final = [
    client(SOMCHAI, calls_per_minute=10_000),
    client(GREEDY, client_id="client-greedy", calls_per_minute=10_000),
]
GREEDY_ONE, POLITE_ONE = "client-greedy", "client-polite"


def request(request_id: str = "r") -> pb.PredictRequest:
    return pb.PredictRequest(request_id=request_id, views=[pb.View(photo=photo())])


class Open:
    """Streams of one client that stay open."""

    def __init__(self, gateway: Gateway, key: ApiKey) -> None:
        self._stub, self._key = prediction_pb2_grpc.PredictionServiceStub(gateway.channel), key
        self.streams: list[Any] = []

    async def more(self, count: int) -> None:
        """Once each was let in: a request without a photograph is refused inside, and at no cost."""
        new = [self._stub.PredictStream(metadata=self._key.metadata) for _ in range(count)]
        for stream in new:
            await stream.write(pb.PredictRequest(request_id="here"))
        for stream in new:
            assert (await stream.read()).request_id == "here"
        self.streams += new

    async def one_is_refused(self) -> Refused:
        stream = self._stub.PredictStream(metadata=self._key.metadata)
        return await end_of(stream)

    def leave(self) -> None:
        for stream in self.streams:
            stream.cancel()


async def end_of(stream: Any) -> Refused:
    try:
        async with asyncio.timeout(60):
            while await stream.read() is not aio.EOF:
                pass
    except aio.AioRpcError as error:
        return refused(error)
    raise AssertionError("the stream ended well")


def is_told_to_wait(found: Refused) -> bool:
    return (found.code, found.reason, bool(found.retry_after_s)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        words.REASON_OVERLOADED,
        True,
    )


async def test_one_client_alone_may_have_all_streams_and_not_one_more(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(clients=CLIENTS), calls_in_flight_max=CALLS) as gateway:
        greedy = Open(gateway, GREEDY)
        await greedy.more(PLACES)
        found = await greedy.one_is_refused()

        assert is_told_to_wait(found)
        assert f"{PLACES} streams are open already, {PLACES} of them this client's" in found.message
        assert await gateway.metric("amulet_streams_open") == PLACES
        assert (await gateway.predict(photo())).prediction_id  # calls have places of their own
        greedy.leave()

        async def all_are_free() -> bool:
            return await gateway.metric("amulet_streams_open") == 0

        await until(all_are_free, what="the places are given back")


async def test_another_client_gets_its_share_and_the_newest_streams_end_for_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(clients=CLIENTS), calls_in_flight_max=CALLS) as gateway:
        greedy, polite = Open(gateway, GREEDY), Open(gateway, SOMCHAI)
        await greedy.more(PLACES)
        await polite.more(PLACES // 2)
        ends = [await end_of(stream) for stream in greedy.streams[-(PLACES // 2) :]]
        beyond = await polite.one_is_refused()
        kept = greedy.streams[: -(PLACES // 2)]
        for stream in kept:
            await stream.write(pb.PredictRequest(request_id="still here"))

        assert all(map(is_told_to_wait, ends))
        assert {(await stream.read()).request_id for stream in kept} == {"still here"}
        assert is_told_to_wait(beyond)
        greedy.leave()
        polite.leave()


async def test_a_stream_that_has_to_end_still_gets_the_answers_of_what_it_began(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(clients=CLIENTS), calls_in_flight_max=CALLS) as gateway:
        greedy, polite = Open(gateway, GREEDY), Open(gateway, SOMCHAI)
        await greedy.more(PLACES)
        gateway.graph.hold()
        last = greedy.streams[-1]
        await last.write(request("begun"))
        await until(lambda: len(gateway.graph.seen) == 1, what="the request is worked on")

        await polite.more(1)
        await last.write(request("later"))  # perhaps the end is not here yet: then it is not begun
        gateway.graph.release()

        answer = await last.read()
        assert answer.response.candidates[0].class_id == "red", answer
        assert is_told_to_wait(await end_of(last))
        assert len(gateway.graph.seen) == 1
        greedy.leave()
        polite.leave()


async def test_watches_that_anybody_may_open_leave_room_for_calls_and_say_when_there_are_no_more(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack, running_gateway(tmp_path, policy=policy()) as gateway:
        target, apart = f"127.0.0.1:{gateway.listening.grpc_port}", (("grpc.use_local_subchannel_pool", 1),)
        one, other = [await stack.enter_async_context(aio.insecure_channel(target, options=apart)) for _ in range(2)]
        full, stub = health_pb2_grpc.HealthStub(one), health_pb2_grpc.HealthStub(other)  # a connection carries no more
        watches = [full.Watch(health_pb2.HealthCheckRequest()) for _ in range(STRANGERS_STREAMS_MAX)]
        for watch in watches:
            assert isinstance(await watch.read(), health_pb2.HealthCheckResponse)

        beyond = await end_of(stub.Watch(health_pb2.HealthCheckRequest()))
        assert (beyond.code, beyond.reason) == (grpc.StatusCode.UNIMPLEMENTED, words.REASON_OVERLOADED)
        assert beyond.retry_after_s
        assert is_told_to_wait(await end_of(reflection_pb2_grpc.ServerReflectionStub(other).ServerReflectionInfo()))
        assert (await gateway.predict(photo())).prediction_id
        watches[0].cancel()

        async def one_is_free() -> bool:
            return await gateway.metric("amulet_streams_open_without_key") < STRANGERS_STREAMS_MAX

        await until(one_is_free, what="a place is given back")
        again = stub.Watch(health_pb2.HealthCheckRequest())
        assert isinstance(await again.read(), health_pb2.HealthCheckResponse)


async def test_a_channel_that_asks_for_health_is_answered_where_no_place_is_left_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the 257th of a house: whoever has no watch takes the gateway for healthy."""
    monkeypatch.setattr(server, "STRANGERS_STREAMS_MAX", 1)
    async with AsyncExitStack() as stack, running_gateway(tmp_path, policy=policy()) as gateway:
        for _ in range(3):
            one = await stack.enter_async_context(
                AsyncClient(
                    f"ipv4:127.0.0.1:{gateway.listening.grpc_port}",
                    api_key=SOMCHAI.text,
                    plaintext=True,
                    share_calls=True,
                )
            )
            assert (await one.predict([photo()])).prediction_id

        assert await gateway.metric("amulet_streams_open_without_key") == 1


async def test_a_description_that_somebody_reads_does_not_hold_up_the_gateways_end(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        describing = reflection_pb2_grpc.ServerReflectionStub(gateway.channel).ServerReflectionInfo()
        await describing.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = (await describing.read()).list_services_response.service

        gateway.stop.set()
        found = await end_of(describing)

    assert "amulet.v1.PredictionService" in {service.name for service in listed}
    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_SHUTTING_DOWN)


class Held:
    """Streams that stay until they are told to end, and then as long as `stuck`."""

    def __init__(self, streams: Streams) -> None:
        self.streams, self.stuck = streams, asyncio.Event()
        self.ends: list[Exception] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def enter(self, client_id: str) -> asyncio.Task[None]:
        async def stay() -> None:
            try:
                async with self.streams.place(client_id, last=self.stuck.wait):  # type: ignore[arg-type]  # what it returns is not looked at
                    await asyncio.Event().wait()
            except errors.Refusal as refusal:
                self.ends.append(refusal)

        task = asyncio.create_task(stay())
        self._tasks.add(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task


async def test_streams_that_do_not_end_count_until_they_do() -> None:
    held = Held(Streams(2, last_s_max=30.0))
    for client_id in (GREEDY_ONE, GREEDY_ONE, POLITE_ONE):
        polite = await held.enter(client_id)
    assert held.streams.open == 3  # one of them was told to end, and has something to finish
    polite.cancel()
    await asyncio.wait([polite])

    await held.enter(GREEDY_ONE)

    assert [type(end) for end in held.ends] == [errors.Overloaded]
    await held.enter("client-third")  # the place of the one that was told to end
    assert (held.streams.open, len(held.ends)) == (3, 1)
    held.stuck.set()
    held.streams.close()
    await asyncio.wait(held._tasks)
    assert held.streams.open == 0
    assert Counter(map(type, held.ends)) == {errors.Overloaded: 2, errors.ShuttingDown: 2}


async def test_streams_that_do_not_end_are_with_those_that_stay_twice_the_places_at_most() -> None:
    """Callers that do not read, under many keys: each new one ends a stream of another, which goes on."""
    held = Held(Streams(8, last_s_max=30.0))
    for _ in range(8):
        await held.enter(GREEDY_ONE)
    passing = [await held.enter(f"client-passing-{number}") for number in range(7)]
    assert held.streams.open == 15
    for task in passing:
        task.cancel()
    await asyncio.wait(passing)
    for _ in range(4):
        await held.enter(POLITE_ONE)
    for number in range(4):
        await held.enter(f"client-late-{number}")
    assert (held.streams.open, held.ends) == (16, [])

    beyond = await held.enter("client-beyond")

    assert beyond.done()
    assert (held.streams.open, [type(end) for end in held.ends]) == (16, [errors.Overloaded])
    held.stuck.set()
    held.streams.close()
    await asyncio.wait(held._tasks)
    assert held.streams.open == 0


async def test_with_as_many_clients_as_places_another_one_is_refused_and_nobody_ends_for_it() -> None:
    held = Held(Streams(2, last_s_max=30.0))
    for client_id in (GREEDY_ONE, POLITE_ONE):
        await held.enter(client_id)

    third = await held.enter("client-third")

    assert third.done()
    assert (held.streams.open, [type(end) for end in held.ends]) == (2, [errors.Overloaded])
    held.stuck.set()
    held.streams.close()
    await asyncio.wait(held._tasks)


async def test_it_is_the_newest_stream_that_ends_and_clients_that_have_left_have_no_share() -> None:
    held = Held(Streams(4, last_s_max=30.0))
    held.stuck.set()
    for client_id in ("client-gone", "client-gone-too"):
        gone = await held.enter(client_id)
        gone.cancel()
        await asyncio.wait([gone])
    greedy = [await held.enter(GREEDY_ONE) for _ in range(4)]

    for _ in range(2):
        await held.enter(POLITE_ONE)

    await until(lambda: len(held.ends) == 2, what="the two that were told to end have ended")
    assert [task.done() for task in greedy] == [False, False, True, True]
    third = await held.enter(POLITE_ONE)  # it has its share: half of the places, not a fourth
    assert third.done()
    assert (held.streams.open, len(held.ends)) == (4, 3)
    held.streams.close()
    await asyncio.wait(held._tasks)


async def test_a_stream_that_comes_when_the_gateway_ends_is_told_so() -> None:
    held = Held(Streams(2, last_s_max=30.0))
    held.stuck.set()
    held.streams.close()

    await held.enter(GREEDY_ONE)

    await until(lambda: bool(held.ends), what="it has ended")
    assert [type(end) for end in held.ends] == [errors.ShuttingDown]


async def test_connections_are_kept_until_whoever_still_sends_has_read_its_end() -> None:
    held, loop = Held(Streams(2, last_s_max=30.0)), asyncio.get_running_loop()
    async with asyncio.timeout(30):
        await held.streams.until_heard(s_max=60.0)  # there never was one
        stream = await held.enter(GREEDY_ONE)
        held.streams.close()
        await held.streams.until_heard(s_max=0.01)  # one that does not end is not waited for for ever

        waiting = asyncio.create_task(held.streams.until_heard(s_max=60.0))
        await asyncio.wait([waiting], timeout=2 * _HEARD_S)
        assert not waiting.done()
        held.stuck.set()
        await stream
        over_s = loop.time()
        await waiting
    assert loop.time() - over_s >= 0.9 * _HEARD_S  # of two clocks


async def test_a_caller_that_does_not_read_its_last_answers_is_not_waited_for_longer_than_a_call() -> None:
    held = Held(Streams(1, last_s_max=0.01))
    await held.enter(GREEDY_ONE)
    held.streams.close()
    await asyncio.wait(held._tasks)

    assert [type(end) for end in held.ends] == [errors.ShuttingDown]


async def _a_stream_that_has_just_ended(streams: Streams, *, cancelled: bool) -> asyncio.Task[None]:
    """Its body is over, and for a turn of the loop it is still among those that stay."""
    over = asyncio.Event()

    async def stay() -> None:
        async with streams.place(GREEDY_ONE):
            await over.wait()

    task = asyncio.create_task(stay())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if cancelled:
        task.cancel()
    else:
        over.set()
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_gateway_ends_while_a_stream_is_just_ending_by_itself(cancelled: bool) -> None:
    streams = Streams(2, last_s_max=1.0)
    ending = await _a_stream_that_has_just_ended(streams, cancelled=cancelled)

    streams.close()

    await asyncio.wait([ending])
    assert streams.open == 0


async def test_a_place_that_is_just_being_given_up_is_taken_by_another_client() -> None:
    held = Held(Streams(2, last_s_max=30.0))
    await held.enter(GREEDY_ONE)
    ending = await _a_stream_that_has_just_ended(held.streams, cancelled=False)

    await held.enter(POLITE_ONE)

    await asyncio.wait([ending])
    assert held.ends == []
    assert held.streams.open == 2
    held.stuck.set()
    held.streams.close()
    await asyncio.wait(held._tasks)
