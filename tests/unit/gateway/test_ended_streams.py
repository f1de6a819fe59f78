"""A stream that the gateway ends while its caller still sends: the caller hears why, always.

Each ends many streams, because what goes wrong here is a race: grpc.aio puts INTERNAL in the
place of the gateway's status when a write meets the end (grpc/grpc issue 36066).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

import pytest
from grpc import aio

from amulet_client import AsyncClient, Client, Refused
from gateway.server import streams_max
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.gateway.cast import SOMCHAI, Gateway, client, kept_revision, photo, policy, running_gateway, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
STREAMS: Final = 300
MIB: Final = 2**20


def requests(count: int, content: bytes) -> list[pb.PredictRequest]:
    return [pb.PredictRequest(request_id=str(number), views=[pb.View(photo=content)]) for number in range(count)]


async def endless() -> AsyncIterator[pb.PredictRequest]:
    content = photo()
    number = 0
    while True:
        yield pb.PredictRequest(request_id=str(number), views=[pb.View(photo=content)])
        number += 1


def async_client(gateway: Gateway, key: str = SOMCHAI.text) -> AsyncClient:
    return AsyncClient(f"127.0.0.1:{gateway.listening.grpc_port}", api_key=key, plaintext=True)


async def end_of(caller: AsyncClient, given: Iterable[pb.PredictRequest] | AsyncIterator[pb.PredictRequest]) -> Refused:
    """What the stream itself ends with, once its answers are read."""
    with pytest.raises(Refused) as refused:
        async for _ in caller.predict_stream(given):
            pass
    return refused.value


@pytest.mark.parametrize(
    ("count", "photo_bytes"), [(20, 10), (20, 65_000), (2, MIB)], ids=["small", "about a window", "beyond a window"]
)
async def test_a_stream_refused_at_the_door_tells_why(gateway: Gateway, count: int, photo_bytes: int) -> None:
    given = requests(count, bytes(photo_bytes))
    async with async_client(gateway, "amk_nonsense") as caller:
        reasons = Counter([(await end_of(caller, given)).reason for _ in range(STREAMS // 3)])

    assert reasons == {"REASON_KEY_UNKNOWN": STREAMS // 3}


async def test_a_stream_of_a_client_for_threads_refused_at_the_door_tells_why(gateway: Gateway) -> None:
    given = requests(20, bytes(10))

    def ends() -> Counter[str]:
        reasons: Counter[str] = Counter()
        with Client(f"127.0.0.1:{gateway.listening.grpc_port}", api_key="amk_nonsense", plaintext=True) as caller:
            for _ in range(STREAMS // 3):
                with pytest.raises(Refused) as refused:
                    list(caller.predict_stream(given))
                reasons[refused.value.reason] += 1
        return reasons

    assert await asyncio.to_thread(ends) == {"REASON_KEY_UNKNOWN": STREAMS // 3}


async def test_a_revoked_key_ends_streams_in_the_midst_of_sending_and_tells_why(tmp_path: Path) -> None:
    often = client(calls_per_minute=1_000_000)
    async with running_gateway(tmp_path, policy=policy(clients=[often])) as gateway, async_client(gateway) as caller:
        ends = [asyncio.create_task(end_of(caller, endless())) for _ in range(8)]
        await until(lambda: len(gateway.graph.versions_asked) >= 8, what="the streams are worked on")
        gateway.console.issue(policy(revision=2, clients=[client(calls_per_minute=1_000_000, revoked=True)]))
        await until(lambda: kept_revision(gateway) == 2, what="the new policy is in force")

        assert {end.reason for end in await asyncio.gather(*ends)} == {"REASON_KEY_REVOKED"}


async def test_a_gateway_that_stops_ends_streams_in_the_midst_of_sending_and_tells_why(tmp_path: Path) -> None:
    often = client(calls_per_minute=1_000_000)
    async with running_gateway(tmp_path, policy=policy(clients=[often])) as gateway, async_client(gateway) as caller:
        ends = [asyncio.create_task(end_of(caller, endless())) for _ in range(8)]
        await until(lambda: len(gateway.graph.versions_asked) >= 8, what="the streams are worked on")

        gateway.stop.set()

        assert {end.reason for end in await asyncio.gather(*ends)} == {"REASON_SHUTTING_DOWN"}


async def test_a_message_larger_than_the_wire_takes_ends_its_stream_and_tells_why(gateway: Gateway) -> None:
    too_large = [pb.PredictRequest(views=[pb.View(photo=bytes(54 * MIB))] * 3)]
    async with async_client(gateway) as caller:
        end = await end_of(caller, too_large + requests(20, photo()))

    assert end.code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in end.message


async def test_a_stream_beyond_the_last_place_is_refused_and_tells_why(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(), calls_in_flight_max=1) as gateway:
        held = [gateway.stub.PredictStream(metadata=SOMCHAI.metadata) for _ in range(streams_max(1))]
        for stream in held:
            await stream.write(pb.PredictRequest())
        assert {(await stream.read()).error.reason for stream in held} <= {
            words.REASON_PHOTO_MISSING,
            words.REASON_RATE_LIMITED,
        }
        async with async_client(gateway) as caller:
            ends = [await end_of(caller, requests(20, bytes(10))) for _ in range(20)]
        for stream in held:
            stream.cancel()

    assert {(end.code, end.reason, bool(end.retry_after_s)) for end in ends} == {
        ("RESOURCE_EXHAUSTED", "REASON_OVERLOADED", True)
    }


async def test_a_stream_that_the_port_itself_refuses_is_refused_in_its_words() -> None:
    """A gateway never comes to it, since the door counts all that may be open; what stands before one may."""

    class Held(prediction_pb2_grpc.PredictionServiceServicer):
        async def PredictStream(self, request_iterator: object, context: object) -> AsyncIterator[pb.StreamResult]:
            yield pb.StreamResult()
            await asyncio.Event().wait()

    server = aio.server(maximum_concurrent_rpcs=1)
    prediction_pb2_grpc.add_PredictionServiceServicer_to_server(Held(), server)  # type: ignore[abstract]  # what is not called is not there
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}", api_key=SOMCHAI.text, plaintext=True) as caller:
        held = caller.predict_stream(endless())
        await anext(held)  # the only place is taken
        ends = [await end_of(caller, requests(20, bytes(10))) for _ in range(20)]
    await server.stop(0)

    assert {(end.code, end.message) for end in ends} == {("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!")}
