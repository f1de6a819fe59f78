"""Messages that are small on the wire and large in memory, and what is no message: refused before they are parsed."""

from __future__ import annotations

import asyncio
import gzip
import random
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors, messages
from gateway.messages import (
    FIELDS_MAX,
    LONG_BYTES_MIN,
    PACKED_BYTES_MAX,
    UNPACKED_BYTES_FREE,
    UNPACKED_BYTES_MAX,
    UNPACKED_RATIO_MAX,
    Came,
    check,
    parser_of,
    taker_of,
    unpacked,
)
from protos import walk
from protos.amulet.v1 import prediction_pb2 as pb
from protos.inference import open_inference_pb2 as oip
from tests.unit.gateway.cast import SOMCHAI, Gateway, photo, refusal_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREDICT = "/amulet.v1.PredictionService/Predict"
STREAM = "/amulet.v1.PredictionService/PredictStream"
INFER = "/inference.GRPCInferenceService/ModelInfer"
HEALTH = "/grpc.health.v1.Health/Check"
GARBAGE = {
    "garbage": b"\xff\xff\xff",
    "a text that is none": b"\x0a\x02\xff\xfe",
    "cut off": b"\x12\x7f\x01",
    "a group": b"\x0b\x0c",
}


def _inputs(count: int) -> oip.ModelInferRequest:
    return oip.ModelInferRequest(inputs=[oip.ModelInferRequest.InferInputTensor()] * count)


def _contents(contents: oip.InferTensorContents) -> oip.ModelInferRequest:
    return oip.ModelInferRequest(inputs=[oip.ModelInferRequest.InferInputTensor(name="photo", contents=contents)])


@pytest.mark.parametrize(
    "message",
    [
        pb.PredictRequest(views=[pb.View()] * (FIELDS_MAX + 1)),
        _inputs(FIELDS_MAX + 1),
        _contents(oip.InferTensorContents(bytes_contents=[b""] * FIELDS_MAX)),
        _contents(oip.InferTensorContents(int64_contents=[0] * (PACKED_BYTES_MAX + 1))),
        oip.ModelInferRequest(inputs=[oip.ModelInferRequest.InferInputTensor(shape=[1] * (PACKED_BYTES_MAX + 1))]),
    ],
    ids=["views", "inputs", "empty contents", "numbers", "a shape"],
)
async def test_a_message_of_too_many_parts_is_refused_unparsed(message: Message) -> None:
    def parse(content: bytes) -> Message:
        assert not content, "it was parsed"
        return type(message)()

    with pytest.raises(errors.FieldInvalid, match="the message has more than"):
        parser_of(parse)(message.SerializeToString())


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_message_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(errors.FieldInvalid, match="the message is no PredictRequest"):
        parser_of(pb.PredictRequest.FromString)(content)


async def test_what_callers_send_is_parsed_as_it_is() -> None:
    views = [pb.View(photo=photo(seed=seed), side=seed % 3) for seed in range(8)]  # type: ignore[arg-type]  # any side
    request = pb.PredictRequest(views=views, request_id="r", top_k=-1, subject={"pseudonym": "ผู้ฝาก"})
    unknown = request.SerializeToString() + b"\xba\x3e\x03abc\xc0\x3e\x7f\xcd\x3e\0\0\0\0\xd1\x3e" + bytes(8)

    assert parser_of(pb.PredictRequest.FromString)(request.SerializeToString()) == request
    assert parser_of(pb.PredictRequest.FromString)(unknown).views == request.views  # type: ignore[attr-defined]  # of another contract


@given(content=st.binary(max_size=60))
async def test_whatever_passes_the_walk_and_the_parser_is_one_message(content: bytes) -> None:
    try:
        parsed = oip.ModelInferRequest.FromString(content)
    except Exception:
        parsed = None
    try:
        check(content, oip.ModelInferRequest.DESCRIPTOR)
    except (errors.FieldInvalid, ValueError):
        # Groups aside, which no contract here has, the walk refuses nothing that the parser takes.
        assert parsed is None or _has_a_group(content)


def _has_a_group(content: bytes) -> bool:
    return any(byte & 7 in (3, 4) for byte in content)


@pytest.mark.parametrize("method", [PREDICT, INFER, "/amulet.v1.PredictionService/GetModel", HEALTH])
@pytest.mark.parametrize("content", [GARBAGE["garbage"], GARBAGE["cut off"]], ids=["garbage", "cut off"])
async def test_what_is_no_message_is_the_callers_fault(gateway: Gateway, method: str, content: bytes) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await gateway.channel.unary_unary(method)(content, metadata=SOMCHAI.metadata, timeout=10)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_is_no_message_ends_its_stream_and_says_why(gateway: Gateway) -> None:
    async def asked() -> AsyncIterator[bytes]:
        yield GARBAGE["garbage"]

    call = gateway.channel.stream_stream(STREAM)(asked(), metadata=SOMCHAI.metadata, timeout=10)

    with pytest.raises(aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_name_that_would_not_fit_into_the_answer_is_refused(gateway: Gateway) -> None:
    for method, request in (
        ("/amulet.v1.PredictionService/GetModel", pb.GetModelRequest(model="m" * 9_000)),
        ("/amulet.v1.PredictionService/GetModel", pb.GetModelRequest(version="v" * 9_000)),
        (INFER, oip.ModelInferRequest(model_name="m" * 9_000)),
    ):
        with pytest.raises(aio.AioRpcError) as refused:
            await gateway.channel.unary_unary(method)(
                request.SerializeToString(), metadata=SOMCHAI.metadata, timeout=10
            )
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


Pack = Callable[[bytes], bytes]
packings = pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])


@packings
async def test_what_came_packed_is_the_message_that_was_packed(pack: Pack) -> None:
    request = pb.PredictRequest(views=[pb.View(photo=photo())], request_id="r" * 1_000)

    assert parser_of(pb.PredictRequest.FromString)(pack(request.SerializeToString())) == request
    assert unpacked(pack(b"")) == b""
    assert unpacked(pack(bytes(UNPACKED_BYTES_FREE))) == bytes(UNPACKED_BYTES_FREE)  # however well it packs


@packings
@pytest.mark.parametrize(
    ("dense_bytes", "zeros"),
    [(0, UNPACKED_BYTES_FREE + 1), (2**19, 20 * 2**20), (3 * 2**20, 30 * 2**20)],
    ids=["what is free", "the ratio", "what there may be"],
)
async def test_a_message_that_unpacks_to_too_much_is_refused(pack: Pack, dense_bytes: int, zeros: int) -> None:
    packed = pack(random.Random(0).randbytes(dense_bytes) + bytes(zeros))
    bytes_max = min(UNPACKED_BYTES_MAX, max(UNPACKED_BYTES_FREE, UNPACKED_RATIO_MAX * len(packed)))

    with pytest.raises(errors.FieldInvalid, match=f"unpacks to more than {bytes_max:,} bytes"):
        unpacked(packed)


async def test_gzip_that_breaks_off_goes_on_or_is_damaged_is_no_message() -> None:
    packed = gzip.compress(pb.PredictRequest(request_id="r" * 1_000).SerializeToString())

    for spoilt in (packed[:-1], packed + b"\0", packed[:-8] + b"\0\0" + packed[-6:]):
        with pytest.raises(errors.FieldInvalid, match="the message is no PredictRequest"):
            parser_of(pb.PredictRequest.FromString)(spoilt)


async def test_what_begins_as_deflate_does_and_does_not_end_so_is_taken_as_it_came() -> None:
    packed = zlib.compress(pb.PredictRequest(request_id="r" * 1_000).SerializeToString())

    for other in (packed[:-1], packed + b"\0", packed[:-2] + b"\0\0"):
        assert unpacked(other) == other


@given(content=st.binary(max_size=60))
async def test_what_did_not_come_packed_is_left_as_it_is(content: bytes) -> None:
    """Deflate's form ends with a sum over what it holds; gzip's beginning is no message's."""
    message = pb.PredictRequest(model="x", request_id=content.hex()).SerializeToString()

    assert unpacked(message) == message
    assert unpacked(b"\x78\x9c" + content) in (b"\x78\x9c" + content, _inflated(b"\x78\x9c" + content))


def _inflated(content: bytes) -> bytes | None:
    try:
        return zlib.decompress(content)
    except zlib.error:
        return None


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_message_that_came_packed_is_unpacked_beside_the_event_loop(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, compression: grpc.Compression
) -> None:
    unpack, threads = zlib.decompressobj, list[int]()

    def watched(wbits: int) -> object:
        if sys._getframe(1).f_globals["__name__"] == messages.__name__:  # not the console's, for its events
            threads.append(threading.get_ident())
        return unpack(wbits)

    monkeypatch.setattr(zlib, "decompressobj", watched)
    request, bomb = (pb.PredictRequest(views=[pb.View(photo=photo() + bytes(zeros))]) for zeros in (2**20, 19 * 2**20))

    def called(request: pb.PredictRequest) -> Awaitable[pb.PredictResponse]:
        return gateway.stub.Predict(request, metadata=SOMCHAI.metadata, timeout=20, compression=compression)

    refused, *answers = await asyncio.gather(refusal_of(called(bomb)), called(request), called(request))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {answer.candidates[0].class_id for answer in answers} == {"red"}
    assert len(threads) == 3
    assert len(set(threads)) == 1  # one at a time: each may become 32 MiB
    assert threading.get_ident() not in threads


_BLOBS = st.binary(max_size=24)
_PREDICTIONS = st.builds(
    lambda photos, text: pb.PredictRequest(views=[pb.View(photo=one, side=1) for one in photos], request_id=text),
    st.lists(_BLOBS, max_size=3),
    st.text(max_size=24),
)
_INFERENCES = st.builds(
    lambda raw, typed, text: oip.ModelInferRequest(
        id=text,
        raw_input_contents=raw,
        inputs=[
            oip.ModelInferRequest.InferInputTensor(
                name=text, shape=[len(typed)], contents=oip.InferTensorContents(bytes_contents=typed)
            )
        ],
        parameters={text: oip.InferParameter(string_param=text)},
    ),
    st.lists(_BLOBS, max_size=2),
    st.lists(_BLOBS, max_size=3),
    st.text(max_size=24),
)


@given(st.lists(st.one_of(_PREDICTIONS, _INFERENCES), min_size=1, max_size=2))
async def test_a_message_is_the_same_whether_or_not_its_bytes_were_cut_out(messages: list[Message]) -> None:
    """Also where a field comes twice, as in messages behind each other, which protobuf merges."""
    kind = type(messages[0])
    content = b"".join(one.SerializeToString() for one in messages if type(one) is kind)
    found: dict[bytes, bytes] = {}

    def put(value: memoryview) -> bytes:
        name = b"a name of what was there %03d" % len(found)  # longer and shorter than what it stands for
        found[name] = bytes(value)
        return name

    cut = walk.cut(content, kind.DESCRIPTOR, bytes_min=8, put=put)

    check(cut, kind.DESCRIPTOR)
    message = kind.FromString(cut)
    if isinstance(message, pb.PredictRequest):
        for view in message.views:
            view.photo = found.get(view.photo, view.photo)
    else:
        message.raw_input_contents[:] = [found.get(one, one) for one in message.raw_input_contents]
        for tensor in message.inputs:
            if tensor.HasField("contents"):
                typed = tensor.contents.bytes_contents
                typed[:] = [found.get(one, one) for one in typed]
    assert message == kind.FromString(content)


async def test_photographs_of_a_long_message_are_left_where_they_came() -> None:
    photos = [photo() + bytes(LONG_BYTES_MIN), photo()]
    content = pb.PredictRequest(views=[pb.View(photo=one) for one in photos]).SerializeToString()

    came = taker_of(pb.PredictRequest.FromString)(content)

    assert isinstance(came, Came)
    first, second = (came.cut.of(view.photo) for view in came.message.views)
    assert (bytes(first), second) == (photos[0], photos[1])
    assert isinstance(first, memoryview)
    assert first.obj is content


async def test_a_long_photograph_is_answered_as_the_same_one_is_that_is_short(gateway: Gateway) -> None:
    short, long = photo(), photo() + bytes(2 * LONG_BYTES_MIN)
    plain = await gateway.predict(short)
    several = await gateway.predict(short, long)
    infer = gateway.channel.unary_unary(
        INFER,
        request_serializer=oip.ModelInferRequest.SerializeToString,
        response_deserializer=oip.ModelInferResponse.FromString,
    )

    def tensor(**contents: object) -> oip.ModelInferRequest.InferInputTensor:
        return oip.ModelInferRequest.InferInputTensor(name="photo", datatype="BYTES", shape=[1], **contents)

    answers = [plain.candidates[0].probability, *(view.candidates[0].probability for view in several.views)]
    typed = oip.ModelInferRequest(inputs=[tensor(contents=oip.InferTensorContents(bytes_contents=[long]))])
    raw = oip.ModelInferRequest(inputs=[tensor()], raw_input_contents=[len(long).to_bytes(4, "little") + long])
    for request in (typed, raw):
        answer = await infer(request, metadata=SOMCHAI.metadata)
        names = [output.name for output in answer.outputs]
        at = names.index("probabilities")
        values = (
            list(np.frombuffer(answer.raw_output_contents[at]))
            if request.raw_input_contents
            else answer.outputs[at].contents.fp64_contents
        )
        answers.append(max(values))
    assert answers == [plain.candidates[0].probability] * 5
