"""What callers send, counted before it is parsed (`protos.walk`): the event loop stands still while objects are made.

What this gateway's methods take has some ten fields a photograph, and photographs are skipped by their length.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from gateway import errors
from protos import walk

FIELDS_MAX: Final = 1_000  # those of messages within messages included
PACKED_BYTES_MAX: Final = 2**20  # of numbers in a row: each becomes up to eight bytes


@cache
def parser_of(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Message]:
    """The same, for whatever may arrive: raises FieldInvalid for what is no such message, or has too many parts."""
    kind = type(deserialize(b""))

    def parse(content: bytes) -> Message:
        try:
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
