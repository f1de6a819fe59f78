"""What callers send, counted before it is unpacked and before it is parsed (`protos.walk`): the event loop stands still
while objects are made, and a kilobyte of zeros, packed, is a megabyte.

What this gateway's methods take has some ten fields a photograph, and photographs are skipped by their length. Where
none belong a message is short, for gRPC knows one limit for all methods, and a watch holds its message while it is open
(decision 0249).
Photographs of a long message are left where they came, and their places taken by names of a few bytes while the rest is
parsed: parsing copies them, and taking them out of what was parsed does so again, a tenth of a second each for 152 MiB
(decision 0282).
gRPC is told to leave packed messages alone (`server`): it would unpack each up to the size of the largest message,
outside the places for calls, and all at once (decision 0198). Here one is unpacked at a time, beside the event loop
(decision 0295).
"""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from gateway import errors
from protos import walk

WITH_PHOTOGRAPHS: Final = frozenset({"amulet.v1.PredictRequest", "inference.ModelInferRequest"})
WORDS_BYTES_MAX: Final = 64 * 1024  # of every other message: a comment of feedback, the longest, has 8,000
FIELDS_MAX: Final = 1_000  # those of messages within messages included
PACKED_BYTES_MAX: Final = 2**20  # of numbers in a row: each becomes up to eight bytes
# What a message that came packed may be: so much in any case, then so many times what came, and never more than the
# last. Photographs do not shrink, and of pixels a photograph's are a half to a tenth.
UNPACKED_BYTES_FREE: Final = 4 * 2**20
UNPACKED_RATIO_MAX: Final = 16
UNPACKED_BYTES_MAX: Final = 32 * 2**20
# Below, a copy is quicker than what it takes to save it.
LONG_BYTES_MIN: Final = 2**20
_CUT_BYTES_MIN: Final = 64 * 1024
_NAME_BYTES: Final = 16


class Cut:
    """What was left where it came, by what stands in its place."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[bytes, memoryview] = {}

    def put(self, value: memoryview) -> bytes:
        name = secrets.token_bytes(_NAME_BYTES)  # which nobody can have sent
        self._found[name] = value
        return name

    def of(self, field: bytes) -> bytes | memoryview:
        """What was sent in this field."""
        return self._found.get(field, field) if self._found else field


NOTHING_CUT: Final = Cut()


@dataclass(frozen=True, slots=True)
class Came:
    """A message with photographs, and those that were cut out of it."""

    message: Any
    cut: Cut


class Taking:
    """Makes messages of what came. One for all calls: it has one thread, and so at most one message being unpacked."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="unpacking")  # started by the first that is packed

    async def taken(self, take: Callable[[bytes], Any], content: bytes) -> Any:
        """take: of `taker_of`. Whoever leaves while it waits for the thread is not unpacked."""
        if not (_is_gzip(content) or _may_be_deflate(content)):
            return take(content)
        return await asyncio.get_running_loop().run_in_executor(self._thread, take, content)


@cache
def taker_of(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Any]:
    """What makes of a message's bytes what its method takes: a Came where photographs belong, or the message.

    Raises FieldInvalid as `parser_of` does.
    """
    parse = parser_of(deserialize)
    if type(deserialize(b"")).DESCRIPTOR.full_name not in WITH_PHOTOGRAPHS:
        return parse

    def take(content: bytes) -> Came:
        cut = Cut() if len(content) >= LONG_BYTES_MIN else NOTHING_CUT
        return Came(parse(content, cut), cut)

    return take


@cache
def parser_of(deserialize: Callable[[bytes], Message]) -> Callable[..., Message]:
    """The same, for whatever may arrive: raises FieldInvalid for what is no such message, is too long, or has too many
    parts."""
    kind = type(deserialize(b""))
    is_short = kind.DESCRIPTOR.full_name not in WITH_PHOTOGRAPHS

    def parse(content: bytes, cut: Cut = NOTHING_CUT) -> Message:
        try:
            content = unpacked(content)
            if is_short and len(content) > WORDS_BYTES_MAX:
                raise errors.FieldInvalid(
                    f"the message has {len(content):,} bytes",
                    wanted=f"at most {WORDS_BYTES_MAX:,} are allowed where no photographs are sent",
                )
            check(content, kind.DESCRIPTOR)  # type: ignore[arg-type]  # upb has a class of its own for it
            if cut is not NOTHING_CUT:
                content = walk.cut(content, kind.DESCRIPTOR, bytes_min=_CUT_BYTES_MIN, put=cut.put)  # type: ignore[arg-type]
            return deserialize(content)
        except (walk.Malformed, DecodeError):
            raise errors.FieldInvalid(
                f"the message is no {kind.DESCRIPTOR.name}", wanted="make it with the contract's own code"
            ) from None

    return parse


def check(content: bytes, kind: Descriptor) -> None:
    """Raises FieldInvalid when a message of this kind has too many parts, Malformed when it is none."""
    try:
        walk.check(content, kind, fields_max=FIELDS_MAX, packed_bytes_max=PACKED_BYTES_MAX)
    except walk.TooManyFields:
        raise errors.FieldInvalid(
            f"the message has more than {FIELDS_MAX:,} fields", wanted="send fewer photographs and parameters"
        ) from None
    except walk.TooManyNumbers:
        raise errors.FieldInvalid(
            f"the message has more than {PACKED_BYTES_MAX:,} bytes of numbers", wanted="send pixels as raw contents"
        ) from None


def unpacked(content: bytes) -> bytes:
    """The message in what came: itself, or what gzip or deflate made of it.

    No message of any contract begins as gzip does (wire type 7), and what begins as deflate's form does and is none
    does not come to an end with the right checksum. Raises FieldInvalid beyond the bounds above, Malformed when gzip
    breaks off.
    """
    if _is_gzip(content):
        found = _inflated(content, zlib.MAX_WBITS | 16)
        if found is None:
            raise walk.Malformed
        return found
    if _may_be_deflate(content):
        found = _inflated(content, zlib.MAX_WBITS)
        return content if found is None else found
    return content


def _is_gzip(content: bytes) -> bool:
    return content[:2] == b"\x1f\x8b"


def _may_be_deflate(content: bytes) -> bool:
    return len(content) >= 2 and content[0] & 0x0F == zlib.DEFLATED and int.from_bytes(content[:2]) % 31 == 0


def _inflated(content: bytes, window_bits: int) -> bytes | None:
    """None: it was not packed in this form, or not to its end."""
    bytes_max = min(UNPACKED_BYTES_MAX, max(UNPACKED_BYTES_FREE, UNPACKED_RATIO_MAX * len(content)))
    packed = zlib.decompressobj(window_bits)
    try:
        found = packed.decompress(content, bytes_max + 1)
    except zlib.error:
        return None
    if len(found) > bytes_max:
        raise errors.FieldInvalid(
            f"the message unpacks to more than {bytes_max:,} bytes", wanted="send it without compression"
        )
    return found if packed.eof and not packed.unused_data else None
