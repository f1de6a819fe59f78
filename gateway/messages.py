"""What callers send, counted before it is unpacked and before it is parsed (`protos.walk`): the event loop stands still
while objects are made, and a kilobyte of zeros, packed, is a megabyte.

What this gateway's methods take has some ten fields a photograph, and photographs are skipped by their length. Where
none belong a message is short, for gRPC knows one limit for all methods, and a watch holds its message while it is open
(decision 0249).
gRPC is told to leave packed messages alone (`server`): it would unpack each up to the size of the largest message,
outside the places for calls, and all at once (decision 0198).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import Final

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


@cache
def parser_of(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Message]:
    """The same, for whatever may arrive: raises FieldInvalid for what is no such message, is too long, or has too many
    parts."""
    kind = type(deserialize(b""))
    is_short = kind.DESCRIPTOR.full_name not in WITH_PHOTOGRAPHS

    def parse(content: bytes) -> Message:
        try:
            content = unpacked(content)
            if is_short and len(content) > WORDS_BYTES_MAX:
                raise errors.FieldInvalid(
                    f"the message has {len(content):,} bytes",
                    wanted=f"at most {WORDS_BYTES_MAX:,} are allowed where no photographs are sent",
                )
            check(content, kind.DESCRIPTOR)  # type: ignore[arg-type]  # upb has a class of its own for it
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
    if content[:2] == b"\x1f\x8b":
        found = _inflated(content, zlib.MAX_WBITS | 16)
        if found is None:
            raise walk.Malformed
        return found
    if len(content) >= 2 and content[0] & 0x0F == zlib.DEFLATED and int.from_bytes(content[:2]) % 31 == 0:
        found = _inflated(content, zlib.MAX_WBITS)
        return content if found is None else found
    return content


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
