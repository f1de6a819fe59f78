"""What a gateway process holds of messages that are never whole, and of what strangers send and are refused."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import grpc
import psutil
import pytest

from amulet_client import Client, Refused
from protos.amulet.v1 import prediction_pb2 as pb
from protos.inference import open_inference_pb2 as oip
from tests import http2
from tests.http2 import Connection
from tests.integration.gateway.process import GatewayProcess, memory_of, until
from tests.integration.gateway.test_hostile_peers import HOSTILE, MIB, alone, open_policy
from tests.integration.gateway.test_processes import answers
from tests.unit.gateway.cast import Console, photo

__all__ = ["open_policy"]

MESSAGES_MIB_MAX: Final = 448  # the setting's default
# Beside it: what comes between two looks and what refused streams hold, on a busy machine.
BEYOND_MIB_MAX: Final = 400
STRANGERS_MIB_MAX: Final = 250
CONNECTIONS: Final = 4
STREAMS: Final = 200  # of each connection, open at once
BACK_S_MAX: Final = 60.0
STREAM: Final = "/amulet.v1.PredictionService/PredictStream"
PREDICT: Final = "/amulet.v1.PredictionService/Predict"
# The gateway as it was: gRPC lets 4 MiB and more of each stream come before anybody reads them.
WIDE_WINDOWS: Final = """
import runpy, gateway.server as server
guarded = server._options
wide = ("grpc.http2.bdp_probe", "grpc.http2.lookahead_bytes")
server._options = lambda limits, **more: tuple(one for one in guarded(limits, **more) if one[0] not in wide)
runpy.run_module("gateway", run_name="__main__")
"""
# A gateway whose model takes its time, with no TorchServe behind it.
SLOW_MODEL: Final = """
import runpy, gateway.server as server
from tests.unit.gateway.cast import Graph
async def connect(settings, down):
    graph = Graph()
    graph.wait_s = 100.0
    return server.Serving(graph, lambda versions: None, graph.why_not, ())
server.run.__kwdefaults__["connect"] = connect
runpy.run_module("gateway", run_name="__main__")
"""
# Eight photographs in a call, nearly as large as they may be.
VIEWS: Final = 8
VIEW_MIB: Final = 19
IDLE_STREAMS: Final = 20


class Holder:
    """A caller that opens many calls, sends messages that lack their end, and opens another whenever one ends."""

    def __init__(self, port: int, method: str, key: str, message_mib: int) -> None:
        self._port = port
        self._block = http2.call_fields(method, ("x-api-key", key))
        length = 150 * MIB
        self._content = b"\0" + length.to_bytes(4) + bytes(message_mib * MIB)
        self._leave = asyncio.Event()
        self.ended = 0

    async def run(self) -> None:
        holding = [asyncio.create_task(self._connection()) for _ in range(CONNECTIONS)]
        await self._leave.wait()
        for each in holding:
            each.cancel()
        await asyncio.gather(*holding, return_exceptions=True)

    def leave(self) -> None:
        self._leave.set()

    async def _connection(self) -> None:
        while True:
            with suppress(OSError):
                async with Connection.to(self._port) as connection:
                    await asyncio.gather(*(self._stream(connection) for _ in range(STREAMS)))

    async def _stream(self, connection: Connection) -> None:
        while not connection.closed:
            stream = connection.begin(self._block)
            await connection.give(stream, self._content, ending=False)
            await connection.end_of(stream)
            self.ended += 1


@contextmanager
def held(gateway: GatewayProcess, method: str, *, key: str = HOSTILE.text, message_mib: int) -> Iterator[Holder]:
    """From a thread of its own; it has left when this ends."""
    loop, holder = asyncio.new_event_loop(), Holder(gateway.grpc_port, method, key, message_mib)
    thread = threading.Thread(target=lambda: loop.run_until_complete(holder.run()))
    thread.start()
    try:
        yield holder
    finally:
        loop.call_soon_threadsafe(holder.leave)
        thread.join()
        loop.close()


def ended_for_memory(gateway: GatewayProcess) -> float:
    ended = metric(gateway, "amulet_messages_ended_total")
    assert ended is not None
    return ended


def metric(gateway: GatewayProcess, name: str) -> float | None:
    """None: the gateway does not answer at the moment, for it copies a large message."""
    status, page = gateway.page("/metrics")
    if status != HTTPStatus.OK:
        return None
    (line,) = [line for line in page.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


@pytest.mark.parametrize("method", [STREAM, PREDICT], ids=["streams", "calls"])
def test_messages_that_are_never_whole_hold_no_more_than_they_may_and_others_are_answered(
    method: str, tmp_path: Path, open_policy: Console
) -> None:
    outcomes = Counter[bool]()
    with alone(tmp_path, open_policy) as gateway, grpc.insecure_channel(gateway.target) as polite:
        process = psutil.Process(gateway.process.pid)
        before_mib = process.memory_info().rss / MIB

        def ended_often() -> bool:
            outcomes[answers(polite)] += 1
            return ended_for_memory(gateway) > 3 * 128

        with memory_of(gateway) as grown_mib, held(gateway, method, message_mib=100):
            until(ended_often, s_max=120, what="the one who holds most is ended again and again")
            took_mib = grown_mib()
        until(lambda: process.memory_info().rss / MIB - before_mib < 100, s_max=BACK_S_MAX, what="memory is back")
        said = [line for line in gateway.lines() if line["event"] == "messages_ended_for_memory"]

    print(f"grown {took_mib:.0f} MiB; polite calls {dict(outcomes)}")
    assert took_mib < MESSAGES_MIB_MAX + BEYOND_MIB_MAX
    assert outcomes[False] == 0
    assert {line["client_id"] for line in said} == {"client-hostile"}


def test_without_the_bound_they_hold_what_is_sent(tmp_path: Path, open_policy: Console) -> None:
    """Negative control of the test above."""
    bound = {"AMULET_MESSAGES_MIB_MAX": "1048576"}
    with (
        alone(tmp_path, open_policy, **bound) as gateway,
        memory_of(gateway) as grown_mib,
        held(gateway, STREAM, message_mib=100),
    ):
        until(lambda: grown_mib() > MESSAGES_MIB_MAX + BEYOND_MIB_MAX, s_max=120, what="it grows on")


def test_streams_of_strangers_hold_little_while_they_are_refused(tmp_path: Path, open_policy: Console) -> None:
    with (
        alone(tmp_path, open_policy) as gateway,
        memory_of(gateway) as grown_mib,
        held(gateway, STREAM, key="amk_nonsense", message_mib=8) as holder,
    ):
        until(lambda: holder.ended > 5 * CONNECTIONS * STREAMS, s_max=120, what="many are refused")
        took_mib = grown_mib()
    print(f"grown {took_mib:.0f} MiB")
    assert took_mib < STRANGERS_MIB_MAX


def test_where_grpc_chooses_its_windows_that_is_noticed(tmp_path: Path, open_policy: Console) -> None:
    """Negative control of the test above."""
    with (
        alone(tmp_path, open_policy, "-c", WIDE_WINDOWS) as gateway,
        memory_of(gateway) as grown_mib,
        held(gateway, STREAM, key="amk_nonsense", message_mib=8),
    ):
        until(lambda: grown_mib() > STRANGERS_MIB_MAX, s_max=120, what="it grows on")


def test_who_is_ended_for_memory_hears_why_and_when_to_come_again(tmp_path: Path, open_policy: Console) -> None:
    """A stream in which nothing is sent, of the client that holds most in its others."""
    leave = threading.Event()

    def nothing() -> Iterator[pb.PredictRequest]:
        leave.wait()
        yield from ()

    with (
        alone(tmp_path, open_policy) as gateway,
        Client(gateway.target, api_key=HOSTILE.text, plaintext=True) as caller,
        held(gateway, STREAM, message_mib=100),
    ):
        try:
            with pytest.raises(Refused, match="call again in 2 s") as refused:
                list(caller.predict_stream(nothing()))
        finally:
            leave.set()

    assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "REASON_OVERLOADED")
    assert refused.value.retry_after_s


def padded_photo() -> bytes:
    """A photograph of VIEW_MIB that takes no time to decode: what follows its end is nothing."""
    return photo() + bytes(VIEW_MIB * MIB)


def asked_of(service: str) -> tuple[str, bytes]:
    """The method and a message of eight large photographs."""
    views = [padded_photo() for _ in range(VIEWS)]
    if service == "amulet.v1":
        return PREDICT, pb.PredictRequest(views=[pb.View(photo=view) for view in views]).SerializeToString()
    tensor = oip.ModelInferRequest.InferInputTensor(name="photo", datatype="BYTES", shape=[VIEWS])
    raw = b"".join(len(view).to_bytes(4, "little") + view for view in views)
    request = oip.ModelInferRequest(
        inputs=[tensor], raw_input_contents=[raw], parameters={"one_object": oip.InferParameter(bool_param=True)}
    )
    return "/inference.GRPCInferenceService/ModelInfer", request.SerializeToString()


@pytest.mark.parametrize("service", ["amulet.v1", "inference"])
def test_a_call_holds_its_photographs_once_while_it_is_answered(
    service: str, tmp_path: Path, open_policy: Console
) -> None:
    method, content = asked_of(service)
    patience = {"AMULET_REQUEST_S_MAX": "120"}
    with (
        alone(tmp_path, open_policy, "-c", SLOW_MODEL, **patience) as gateway,
        grpc.insecure_channel(gateway.target) as channel,
    ):
        process = psutil.Process(gateway.process.pid)
        before_mib = process.memory_info().rss / MIB
        asking: Any = channel.unary_unary(method)  # the stubs know none that takes bytes as they are
        call = asking.future(content, metadata=HOSTILE.metadata, timeout=120)
        until(lambda: metric(gateway, "amulet_calls_in_flight") == 1, s_max=60, what="the message is here")
        # What else was needed until the photographs were taken out is given back within ten seconds.
        until(
            lambda: process.memory_info().rss / MIB - before_mib < 1.5 * VIEWS * VIEW_MIB,
            s_max=60,
            what="its copies have gone",
        )
        assert not call.done()
        call.cancel()


def test_a_stream_that_waits_holds_nothing_of_what_was_answered(tmp_path: Path, open_policy: Console) -> None:
    leave, answered = threading.Event(), threading.Semaphore(0)

    def once() -> Iterator[pb.PredictRequest]:
        yield pb.PredictRequest(views=[pb.View(photo=padded_photo())])
        leave.wait()

    def ask(target: str) -> None:
        with Client(target, api_key=HOSTILE.text, plaintext=True) as caller:
            for _ in caller.predict_stream(once()):
                answered.release()

    with alone(tmp_path, open_policy) as gateway, ThreadPoolExecutor(IDLE_STREAMS) as callers:
        process = psutil.Process(gateway.process.pid)
        before_mib = process.memory_info().rss / MIB
        try:
            streams = []
            for _ in range(IDLE_STREAMS):
                streams.append(callers.submit(ask, gateway.target))
                assert answered.acquire(timeout=30)
            until(
                lambda: process.memory_info().rss / MIB - before_mib < 5 * VIEW_MIB,
                s_max=30,
                what="what was answered has gone",
            )
            assert not any(stream.done() for stream in streams)
            assert ended_for_memory(gateway) == 0
        finally:
            leave.set()
    assert [stream.result() for stream in streams] == [None] * IDLE_STREAMS
