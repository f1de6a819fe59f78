"""Messages as large as a call takes, and one byte larger, over every call that there is."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import grpc
import pytest
from google.protobuf.message import Message
from grpc import aio
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # ships without stubs
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]  # ships without stubs

from amulet_client.connection import MESSAGE_BYTES_MAX
from gateway.messages import WITH_PHOTOGRAPHS, WORDS_BYTES_MAX
from protos.amulet.v1 import prediction_pb2
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.inference import open_inference_pb2
from protos.inference import open_inference_pb2 as oip
from tests.unit.gateway.cast import (
    SOMCHAI,
    Gateway,
    Refused,
    policy,
    refused,
    running_gateway,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
AMULET: Final = "/amulet.v1.PredictionService/"
INFERENCE: Final = "/inference.GRPCInferenceService/"
HEALTH: Final = "/grpc.health.v1.Health/"
REFLECTION: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
WITHOUT_PHOTOGRAPHS: Final[dict[str, Message]] = {
    f"{AMULET}SubmitFeedback": pb.SubmitFeedbackRequest(),
    f"{AMULET}ListModels": pb.ListModelsRequest(),
    f"{AMULET}GetModel": pb.GetModelRequest(),
    f"{INFERENCE}ServerLive": oip.ServerLiveRequest(),
    f"{INFERENCE}ServerReady": oip.ServerReadyRequest(),
    f"{INFERENCE}ModelReady": oip.ModelReadyRequest(),
    f"{INFERENCE}ServerMetadata": oip.ServerMetadataRequest(),
    f"{INFERENCE}ModelMetadata": oip.ModelMetadataRequest(),
    f"{HEALTH}Check": health_pb2.HealthCheckRequest(),
    f"{HEALTH}List": health_pb2.HealthListRequest(),
    f"{HEALTH}Watch": health_pb2.HealthCheckRequest(),
    REFLECTION: reflection_pb2.ServerReflectionRequest(list_services=""),
}
UNKNOWN: Final = b"\xfa\x7f"  # a field 2047 of bytes, which no message here has


def filled(message: bytes, size_bytes: int) -> bytes:
    """The same message, so large: what is unknown to the contract stands behind it."""
    for length_bytes in range(1, 6):
        rest = size_bytes - len(message) - len(UNKNOWN) - length_bytes
        length = varint(rest)
        if len(length) == length_bytes:
            return message + UNKNOWN + length + bytes(rest)
    raise AssertionError(f"no field is {size_bytes} bytes large")


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


async def ended(gateway: Gateway, method: str, content: bytes, *, metadata: Any) -> Refused | None:
    """How a call ends that sends this and no more; None: with an answer."""

    async def asked() -> AsyncIterator[bytes]:
        yield content

    call = gateway.channel.stream_stream(method)(asked(), metadata=metadata, timeout=60)
    try:
        if await call.read() == b"":  # gRPC's own, before the status of a call with one answer
            await call.read()
    except aio.AioRpcError as error:
        return refused(error)
    finally:
        call.cancel()
    return None


@pytest.mark.parametrize("method", WITHOUT_PHOTOGRAPHS)
async def test_where_no_photographs_belong_a_message_is_short(gateway: Gateway, method: str) -> None:
    """gRPC itself takes 161 MiB of anybody, with a key or without, and a watch holds its message while it is open."""
    message = WITHOUT_PHOTOGRAPHS[method].SerializeToString()
    metadata = () if method.startswith((HEALTH, REFLECTION)) else SOMCHAI.metadata

    fits = await ended(gateway, method, filled(message, WORDS_BYTES_MAX), metadata=metadata)
    beyond = await ended(gateway, method, filled(message, WORDS_BYTES_MAX + 1), metadata=metadata)

    assert fits is None or "bytes" not in fits.message
    assert beyond is not None
    assert (beyond.code, beyond.reason) == (grpc.StatusCode.INVALID_ARGUMENT, words.REASON_FIELD_INVALID)
    assert beyond.message == ("the message has 65,537 bytes; at most 65,536 are allowed where no photographs are sent")


async def test_every_call_is_held_to_its_size() -> None:
    services = [
        prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"],
        open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    ]
    methods = {f"/{service.full_name}/{one.name}": one for service in services for one in service.methods}
    long = {name for name, one in methods.items() if one.input_type.full_name in WITH_PHOTOGRAPHS}

    assert long == {f"{AMULET}Predict", f"{AMULET}PredictStream", f"{INFERENCE}ModelInfer"}
    assert methods.keys() - long == WITHOUT_PHOTOGRAPHS.keys()


@pytest.mark.parametrize("method", [f"{AMULET}Predict", f"{AMULET}PredictStream", f"{INFERENCE}ModelInfer"])
async def test_photographs_may_be_as_large_as_the_page_says_and_not_a_byte_more(gateway: Gateway, method: str) -> None:
    content = filled(b"", MESSAGE_BYTES_MAX)

    fits = await ended(gateway, method, content, metadata=SOMCHAI.metadata)
    beyond = await ended(gateway, method, content + b"\0", metadata=SOMCHAI.metadata)

    if method.endswith("PredictStream"):
        assert fits is None  # a result that says what is wrong with the request
    else:
        assert fits is not None
        assert fits.code is grpc.StatusCode.INVALID_ARGUMENT
    assert beyond is not None
    assert beyond.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"{MESSAGE_BYTES_MAX + 1} vs. {MESSAGE_BYTES_MAX}" in beyond.message


@pytest.mark.parametrize("method", [f"{HEALTH}Watch", f"{AMULET}GetModel", f"{AMULET}PredictStream"])
async def test_a_message_that_is_refused_is_let_go_at_once(gateway: Gateway, method: str) -> None:
    """Not when the garbage is collected, as in `test_refusals`: a group of tasks keeps what ended it in a circle."""
    content = b"\xff" * 100_000

    await ended(gateway, method, content, metadata=SOMCHAI.metadata)
    gc.collect()
    gc.disable()
    try:
        await ended(gateway, method, content, metadata=SOMCHAI.metadata)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kept = [
            frame.f_code.co_qualname
            for frame in gc.garbage
            if isinstance(frame, FrameType) and content in frame.f_locals.values()
        ]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert not kept


async def test_what_a_stranger_reads_of_our_contracts_he_asks_for_in_time(tmp_path: Path) -> None:
    """Of a message that is not whole gRPC holds what came, and a stream of his may be open for as long as he likes."""
    async with running_gateway(tmp_path, policy=policy(), request_s_max=0.5) as gateway, asyncio.timeout(60):
        call = gateway.channel.stream_stream(REFLECTION)()
        await call.write(WITHOUT_PHOTOGRAPHS[REFLECTION].SerializeToString())
        assert await call.read()  # and says nothing more
        with pytest.raises(aio.AioRpcError) as late:
            await call.read()
        found = refused(late.value)

    assert (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, words.REASON_DEADLINE_EXCEEDED)
