"""Messages, counted before they are parsed.

Two bytes of a message can become a hundred of objects: 16 MiB of empty inputs are 700 MiB, and the event
loop stands still while they are made. gRPC's limit counts bytes, and compression makes those cheap. So a message
is walked first, field by field and without making anything of it: what this gateway's methods take has some ten
fields a photograph, and photographs are skipped by their length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from gateway import errors

FIELDS_MAX: Final = 1_000  # those of messages within messages included
PACKED_BYTES_MAX: Final = 2**20  # of numbers in a row: each becomes up to eight bytes
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5  # wire types
_VARINT_BYTES_MAX: Final = 10
_TEXTS: Final = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


class _Malformed(ValueError):
    """No message at all."""


@cache
def parser_of(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Message]:
    """The same, for whatever may arrive: raises FieldInvalid for what is no such message, or has too many parts."""
    kind = type(deserialize(b""))

    def parse(content: bytes) -> Message:
        try:
            check(content, kind.DESCRIPTOR)  # type: ignore[arg-type]  # upb has a class of its own for it
            return deserialize(content)
        except (_Malformed, DecodeError):
            raise errors.FieldInvalid(
                f"the message is no {kind.DESCRIPTOR.name}", wanted="make it with the contract's own code"
            ) from None

    return parse


def check(content: bytes, kind: Descriptor) -> None:
    """Walk a message of this kind in protobuf's wire format. Raises FieldInvalid when it has too many parts."""
    fields = packed = 0
    waiting: list[tuple[int, int, Descriptor | None]] = [(0, len(content), kind)]
    while waiting:
        at, end, within = waiting.pop()
        children = {} if within is None else _children(within)
        while at < end:
            fields += 1
            if fields > FIELDS_MAX:
                raise errors.FieldInvalid(
                    f"the message has more than {FIELDS_MAX:,} fields", wanted="send fewer photographs and parameters"
                )
            tag, at = _varint(content, at, end)
            wire, child = tag & 7, children.get(tag >> 3, _Leaf)
            if wire == _VARINT:
                _, at = _varint(content, at, end)
            elif wire in _FIXED:
                at += _FIXED[wire]
            elif wire == _DELIMITED:
                length, at = _varint(content, at, end)
                if at + length > end:
                    raise _Malformed
                if isinstance(child, Descriptor):
                    waiting.append((at, at + length, child))
                elif child is _Numbers:
                    packed += length
                at += length
            else:
                raise _Malformed  # groups, which no contract of ours has
        if at != end:
            raise _Malformed
        if packed > PACKED_BYTES_MAX:
            raise errors.FieldInvalid(
                f"the message has more than {PACKED_BYTES_MAX:,} bytes of numbers", wanted="send pixels as raw contents"
            )


_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}


class _Leaf:
    """A field whose length says what it takes: text, bytes, and what the contract does not know."""


class _Numbers:
    """A repeated number, packed."""


@cache
def _children(kind: Descriptor) -> Mapping[int, Any]:
    """What each field by its number is made of: another message, numbers, or neither."""
    return {field.number: field.message_type or (_Leaf if field.type in _TEXTS else _Numbers) for field in kind.fields}


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Malformed
