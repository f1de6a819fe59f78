"""A caller far away hears from the gateway itself that its time is over, and not from its own gRPC alone."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import grpc
import psutil
import pytest
from grpc import aio

from gateway.admission.shedding import CALLS_A_CORE
from gateway.deadline import way_home_s
from gateway.journal import segment
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.cores import cores
from tests.unit.gateway.cast import SOMCHAI, Gateway, Refused, photo, policy, refusal_of, running_gateway, until

ONE_WAY_S: Final = 0.04
DEADLINE_S: Final = 3.0
SLOW_DISK_S: Final = 0.06  # of one sync: more than the gateway keeps back for it before it knows this disk
WORKED_ON: Final = CALLS_A_CORE * cores()  # at once, as long as nothing was answered


@pytest.fixture(autouse=True)
def steady_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that others write to may take longer for one sync than all that is kept back of a deadline."""
    monkeypatch.setattr(segment.os, "fdatasync", lambda _: None)


@asynccontextmanager
async def far_away(
    gateway: Gateway, one_way_s: float = ONE_WAY_S
) -> AsyncIterator[prediction_pb2_grpc.PredictionServiceAsyncStub]:
    """A stub whose every byte takes so long to the gateway and as long back."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while content := await reader.read(65_536):
            loop.call_later(one_way_s, writer.write, content)
        loop.call_later(one_way_s, writer.close)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", gateway.listening.grpc_port)
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer), return_exceptions=True)

    relay = await asyncio.start_server(connect, "127.0.0.1", 0)
    async with relay, aio.insecure_channel(f"127.0.0.1:{relay.sockets[0].getsockname()[1]}") as channel:
        yield prediction_pb2_grpc.PredictionServiceStub(channel)


def asked(
    stub: prediction_pb2_grpc.PredictionServiceAsyncStub, *, within_s: float = DEADLINE_S, **fields: object
) -> asyncio.Task[pb.PredictResponse]:
    request = pb.PredictRequest(views=[pb.View(photo=photo())], **fields)  # type: ignore[arg-type]  # of the message

    async def call() -> pb.PredictResponse:
        return await stub.Predict(request, metadata=SOMCHAI.metadata, timeout=within_s)

    return asyncio.create_task(call())


def late(found: Refused) -> bool:
    """Told by the gateway: gRPC's own status at a deadline has no reason."""
    return (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, words.REASON_DEADLINE_EXCEEDED)


def test_the_way_of_these_tests_is_within_what_is_kept_back_and_beyond_what_the_journal_has() -> None:
    assert 0.02 < 2 * ONE_WAY_S < way_home_s(DEADLINE_S)


async def test_a_model_that_hangs_is_told_of_in_time(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway, far_away(gateway) as stub:
        gateway.graph.hold()

        found = await refusal_of(asked(stub))

    assert late(found)
    assert "the model was answering" in found.message


async def test_who_waits_for_a_place_is_told_in_time(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway, far_away(gateway) as stub:
        gateway.graph.hold()
        near = [asyncio.create_task(gateway.predict(photo())) for _ in range(WORKED_ON)]
        await until(lambda: len(gateway.graph.seen) == WORKED_ON, what="every place is taken")

        found = await refusal_of(asked(stub))
        gateway.graph.release()
        await asyncio.gather(*near)

    assert late(found)
    assert "waiting for a place" in found.message


async def test_who_waits_for_the_answer_of_another_call_is_told_in_time(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway, far_away(gateway) as stub:
        gateway.graph.hold()
        first = asyncio.create_task(gateway.predict(photo(), idempotency_key="k"))
        await until(lambda: len(gateway.graph.seen) == 1, what="the first call is worked on")

        found = await refusal_of(asked(stub, idempotency_key="k"))
        gateway.graph.release()

        assert (await first).prediction_id
    assert late(found)
    assert "the same idempotency key" in found.message


async def test_an_answer_without_its_drawing_arrives_in_time_and_says_so(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, running_gateway(tmp_path, policy=policy()) as gateway:
        stub = await stack.enter_async_context(far_away(gateway))

        response = await without_its_drawing(gateway, stub)

    assert [reason.reason for reason in response.reasons] == [words.REASON_NO_TIME_TO_EXPLAIN]
    assert response.heat_maps[0].values
    assert not response.heat_maps[0].overlay_png


@pytest.mark.parametrize("key", ["", "k"])
async def test_an_answer_that_only_waits_for_a_slow_disk_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    async with AsyncExitStack() as stack, running_gateway(tmp_path, policy=policy()) as gateway:
        stub = await stack.enter_async_context(far_away(gateway))
        slow_disk(monkeypatch)

        assert (await without_its_drawing(gateway, stub, idempotency_key=key)).prediction_id


async def test_a_disk_that_is_always_slow_gets_more_of_a_short_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within_s = 0.6
    assert 0.02 + way_home_s(within_s) / 2 < SLOW_DISK_S
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        slow_disk(monkeypatch)
        await gateway.predict(photo())

        assert (await without_its_drawing(gateway, gateway.stub, within_s=within_s)).prediction_id


async def without_its_drawing(
    gateway: Gateway,
    stub: prediction_pb2_grpc.PredictionServiceAsyncStub,
    *,
    within_s: float = DEADLINE_S,
    idempotency_key: str = "",
) -> pb.PredictResponse:
    """The answer to a call that waited for a drawing as long as it could."""
    explain = pb.Explain(method=pb.Explain.METHOD_GRAD_CAM, overlay=True)
    seen = len(gateway.graph.seen)
    gateway.graph.hold()
    call = asked(stub, within_s=within_s, explain=explain, idempotency_key=idempotency_key)
    await until(lambda: len(gateway.graph.seen) == seen + 1, what="the photograph is open")
    with stopped_decoders():
        gateway.graph.release()
        return await call


def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk takes, and no wait for a condition."""
    monkeypatch.setattr(segment.os, "fdatasync", lambda _: time.sleep(SLOW_DISK_S))


@contextmanager
def stopped_decoders() -> Iterator[None]:
    decoders = [
        child for child in psutil.Process().children() if "gateway.intake.decoder_process" in " ".join(child.cmdline())
    ]
    assert decoders
    for decoder in decoders:
        decoder.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for decoder in decoders:
            decoder.send_signal(signal.SIGCONT)
