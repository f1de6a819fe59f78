"""The tensors of the Open Inference Protocol: photographs out of a request, results into an answer.

A tensor's elements travel either typed, in its own `contents`, or raw, in the message's list
beside the tensors; an answer uses the form that its request used.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway import errors
from gateway.ask import VIEWS_MAX, AskedView
from gateway.messages import NOTHING_CUT, Cut
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.inference import open_inference_pb2 as oip

PHOTO: Final = "photo"  # BYTES [N]: encoded photographs
PIXELS: Final = "pixels"  # UINT8 [N, height, width, 3]: RGB
PHOTOS_MAX: Final = VIEWS_MAX
# Parameters of a tensor, of Triton's extensions. To pass over them were to answer something else than was asked for.
SHARED_MEMORY: Final = "shared_memory_region"
CLASSIFICATION: Final = "classification"
_ONE_INPUT: Final = f"send one input: {PHOTO} (BYTES [N]) or {PIXELS} (UINT8 [N, height, width, 3])"
_LENGTH: Final = struct.Struct("<I")
_Input = oip.ModelInferRequest.InferInputTensor


@dataclass(frozen=True, slots=True)
class Result:
    """One output: a row for each photograph."""

    name: str
    values: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.bool_] | Sequence[bytes]
    parameters: Mapping[str, str] = field(default_factory=dict)


def photographs_of(request: oip.ModelInferRequest, cut: Cut = NOTHING_CUT) -> tuple[AskedView, ...]:
    """The photographs of a request, one to PHOTOS_MAX. cut: what was left where it came.

    Raises FieldInvalid, PhotoMissing or TooManyViews."""
    raw = len(request.raw_input_contents)
    if len(request.inputs) != 1:
        raise errors.FieldInvalid(f"the request has {len(request.inputs)} inputs", field="inputs", wanted=_ONE_INPUT)
    if raw not in (0, 1):
        raise errors.FieldInvalid(
            f"there are {raw} raw contents for one input", field="raw_input_contents", wanted="send one for each input"
        )
    tensor = request.inputs[0]
    if SHARED_MEMORY in tensor.parameters:
        raise errors.FieldInvalid(
            "the input lies in shared memory, which this server does not read",
            field=f"inputs[0].parameters[{SHARED_MEMORY}]",
            wanted="send the contents with the request",
        )
    if raw and tensor.HasField("contents"):
        raise errors.FieldInvalid(
            "the input has contents and raw contents", field="inputs[0].contents", wanted="send one of the two"
        )
    contents = cut.of(request.raw_input_contents[0]) if raw else None
    if tensor.name == PHOTO:
        return _encoded(tensor, contents, cut)
    if tensor.name == PIXELS:
        return _pixels(tensor, contents)
    raise errors.FieldInvalid(f"there is no input {tensor.name[:64]!r}", field="inputs[0].name", wanted=_ONE_INPUT)


def _encoded(tensor: _Input, raw: bytes | memoryview | None, cut: Cut) -> tuple[AskedView, ...]:
    shape = list(tensor.shape)
    if tensor.datatype != "BYTES" or len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise _ill_formed(tensor, "BYTES [N]")
    _check_count(shape[0])
    elements = map(cut.of, tensor.contents.bytes_contents) if raw is None else _elements(raw)
    photos = list(islice(elements, shape[0] + 1))  # of empty ones a message holds millions
    if len(photos) != shape[0]:
        raise errors.FieldInvalid(
            f"the shape says {shape[0]} photographs and {'more' if len(photos) > shape[0] else len(photos)} came",
            field="inputs[0].shape",
            wanted="make them agree",
        )
    return tuple(AskedView(photo, words.SIDE_UNSPECIFIED) for photo in photos)


def _pixels(tensor: _Input, raw: bytes | memoryview | None) -> tuple[AskedView, ...]:
    shape = list(tensor.shape)
    if tensor.datatype != "UINT8" or len(shape) != 4 or shape[3] != 3 or min(shape[1:]) < 1:
        raise _ill_formed(tensor, "UINT8 [N, height, width, 3]")
    _check_count(shape[0])
    if raw is None:
        raise errors.FieldInvalid(
            "the pixels are not in raw_input_contents",
            field="raw_input_contents",
            wanted="send them there, one byte each: typed contents take several",
        )
    size = math.prod(shape[1:])
    if len(raw) != shape[0] * size:
        raise errors.FieldInvalid(
            f"the shape {shape} asks for {shape[0] * size:,} bytes and {len(raw):,} came",
            field="inputs[0].shape",
            wanted="make them agree",
        )
    whole = memoryview(raw)
    size_px = (shape[2], shape[1])
    return tuple(
        AskedView(whole[index * size : (index + 1) * size], words.SIDE_UNSPECIFIED, size_px)
        for index in range(shape[0])
    )


def _check_count(count: int) -> None:
    if count < 1:
        raise errors.PhotoMissing("there is no photograph", field="inputs[0].shape", wanted=f"send 1 to {PHOTOS_MAX}")
    if count > PHOTOS_MAX:
        raise errors.TooManyViews(
            f"there are {count} photographs", field="inputs[0].shape", wanted=f"send 1 to {PHOTOS_MAX} in one call"
        )


def _ill_formed(tensor: _Input, wanted: str) -> errors.FieldInvalid:
    blamed = "inputs[0].datatype" if tensor.datatype != wanted.split()[0] else "inputs[0].shape"
    return errors.FieldInvalid(
        f"{tensor.name} is {tensor.datatype[:16]} {list(tensor.shape)[:8]}", field=blamed, wanted=f"send {wanted}"
    )


def _elements(raw: bytes | memoryview) -> Iterable[bytes | memoryview]:
    """Raises FieldInvalid when the lengths do not add up."""
    at = 0
    while at < len(raw):
        if at + _LENGTH.size > len(raw):
            raise _cut_off()
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + length > len(raw):
            raise _cut_off()
        yield raw[at : at + length]
        at += length


def _cut_off() -> errors.FieldInvalid:
    return errors.FieldInvalid(
        "the raw contents end within an element",
        field="raw_input_contents[0]",
        wanted="put four bytes of length, little-endian, before each photograph",
    )


def write(response: oip.ModelInferResponse, results: Iterable[Result], *, raw: bool) -> None:
    """Add the results to an answer, raw or typed."""
    for result in results:
        tensor = response.outputs.add(name=result.name)
        for name, value in result.parameters.items():
            tensor.parameters[name].string_param = value
        values = result.values
        if not isinstance(values, np.ndarray):
            tensor.datatype = "BYTES"
            tensor.shape.append(len(values))
            if raw:
                framed = b"".join(_LENGTH.pack(len(value)) + value for value in values)
                response.raw_output_contents.append(framed)
            else:
                tensor.contents.bytes_contents.extend(values)
            continue
        tensor.datatype = _DATATYPE_OF[values.dtype.name]
        tensor.shape.extend(values.shape)
        if raw:
            response.raw_output_contents.append(values.astype(values.dtype.newbyteorder("<")).tobytes())
        else:
            getattr(tensor.contents, _CONTENTS_OF[tensor.datatype]).extend(values.ravel().tolist())


_DATATYPE_OF: Final = {"float64": "FP64", "float32": "FP32", "bool": "BOOL"}
_CONTENTS_OF: Final = {"FP64": "fp64_contents", "FP32": "fp32_contents", "BOOL": "bool_contents"}
