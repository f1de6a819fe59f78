"""Counting a message before it is parsed: exactly so many fields and numbers, and nothing that is cut off."""

from __future__ import annotations

import pytest

from protos import walk
from protos.amulet.v1 import prediction_pb2 as pb
from protos.inference import open_inference_pb2 as oip

FIELDS, PACKED_BYTES = 20, 100


def check(content: bytes) -> None:
    walk.check(content, oip.ModelInferRequest.DESCRIPTOR, fields_max=FIELDS, packed_bytes_max=PACKED_BYTES)


def inputs(*bytes_of_numbers: int) -> bytes:
    """A request with one input for each: itself, its contents and its numbers, of one byte each, are three fields."""
    contents = [oip.InferTensorContents(int64_contents=[1] * count) for count in bytes_of_numbers]
    return oip.ModelInferRequest(
        inputs=[oip.ModelInferRequest.InferInputTensor(contents=each) for each in contents]
    ).SerializeToString()


def test_as_many_fields_as_allowed_pass_and_one_more_does_not() -> None:
    name, identifier = b"\x0a\x01m", b"\x1a\x01i"
    allowed = inputs(*[1] * 6) + name + identifier
    check(allowed)
    with pytest.raises(walk.TooManyFields):
        check(allowed + identifier)


def test_numbers_count_over_the_whole_message() -> None:
    check(inputs(50, 50))
    for too_many in (inputs(101), inputs(50, 51), inputs(34, 34, 33)):
        with pytest.raises(walk.TooManyNumbers):
            check(too_many)


def test_photographs_are_no_numbers_however_large_they_are() -> None:
    request = pb.PredictRequest(views=[pb.View(photo=bytes(10 * PACKED_BYTES))], request_id="r" * 10 * PACKED_BYTES)
    walk.check(
        request.SerializeToString(), pb.PredictRequest.DESCRIPTOR, fields_max=FIELDS, packed_bytes_max=PACKED_BYTES
    )


# Field 1000, which no contract of ours has, in each kind of wire.
VARINT, FIXED64, TEXT, FIXED32 = b"\xc0\x3e", b"\xc1\x3e", b"\xc2\x3e", b"\xc5\x3e"


@pytest.mark.parametrize(
    "content",
    [
        VARINT + b"\xff" * 9 + b"\x01",
        FIXED64 + bytes(8),
        TEXT + b"\x03abc",
        FIXED32 + bytes(4),
        FIXED32 + bytes(4) + FIXED64 + bytes(8) + VARINT + b"\x00",
    ],
)
def test_unknown_fields_are_passed_over_and_none_may_be_cut_off_or_overlong(content: bytes) -> None:
    check(content)
    with pytest.raises(walk.Malformed):
        check(content[:-1])
    with pytest.raises(walk.Malformed):
        check(VARINT + b"\xff" * 10 + b"\x01" + content)


@pytest.mark.parametrize("within", [FIXED32 + bytes(3), FIXED64 + bytes(7), VARINT + b"\x80", TEXT + b"\x04abc"])
def test_a_message_within_a_message_ends_where_it_says(within: bytes) -> None:
    field = b"\x2a" + bytes([len(within)]) + within  # an input
    with pytest.raises(walk.Malformed):
        check(field + TEXT + b"\x03abc")


@pytest.mark.parametrize("wire", [3, 4, 6, 7])
def test_groups_and_wires_that_there_are_not_are_malformed(wire: int) -> None:
    with pytest.raises(walk.Malformed):
        check(bytes([1 << 3 | wire]) + bytes(8))
