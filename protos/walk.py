"""Messages, counted before they are parsed: how many fields they have, and how many numbers in a row.

Two bytes of a message can become a hundred of objects, so that limits on bytes alone, which compression
makes cheap, bound no memory. A message is walked first, along tags and lengths and without making anything of
it; what is text or bytes is skipped by its length (decision 0173).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5  # wire types
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES_MAX: Final = 10
_TEXTS: Final = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


class Malformed(ValueError):
    """No message at all."""


class TooManyFields(ValueError):
    """More fields than allowed, those of messages within messages included."""


class TooManyNumbers(ValueError):
    """More bytes of packed numbers than allowed: each becomes up to eight bytes."""


def check(content: bytes, kind: Descriptor, *, fields_max: int, packed_bytes_max: int) -> None:
    """Walk a message of this kind in protobuf's wire format; groups, which no contract of ours has, are malformed.

    Raises Malformed, TooManyFields, TooManyNumbers.
    """
    fields = packed = 0
    waiting = [(0, len(content), _Kind.of(kind))]
    while waiting:
        at, end, within = waiting.pop()
        children = within.children()
        while at < end:
            fields += 1
            if fields > fields_max:
                raise TooManyFields
            tag = content[at]
            at += 1
            if tag > 0x7F:
                tag, at = _varint(content, at - 1, end)
            wire = tag & 7
            if wire == _DELIMITED:
                length, at = _varint(content, at, end)
                begin, at = at, at + length
                if at > end:
                    raise Malformed
                child = children.get(tag >> 3)
                if child is _NUMBERS:
                    packed += length
                elif child is not None:
                    waiting.append((begin, at, child))
            elif wire == _VARINT:
                _, at = _varint(content, at, end)
            elif wire in _FIXED:
                at += _FIXED[wire]
            else:
                raise Malformed
        if at != end:
            raise Malformed
        if packed > packed_bytes_max:
            raise TooManyNumbers


class _Kind:
    """What the walk knows of a kind of message; protobuf's own Descriptor takes a microsecond to be told apart."""

    def __init__(self, descriptor: Descriptor | None) -> None:
        self._descriptor = descriptor
        self._children: Mapping[int, _Kind] | None = None

    @staticmethod
    @cache
    def of(descriptor: Descriptor) -> _Kind:
        return _Kind(descriptor)

    def children(self) -> Mapping[int, _Kind]:
        """By its number, each field that is a message or a packed number; what only has a length is left out."""
        if self._children is None:
            fields = self._descriptor.fields if self._descriptor is not None else ()
            self._children = {
                field.number: _Kind.of(field.message_type) if field.message_type is not None else _NUMBERS
                for field in fields
                if field.type not in _TEXTS
            }
        return self._children


_NUMBERS: Final = _Kind(None)


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    if at < end and content[at] < 0x80:  # nearly all
        return content[at], at + 1
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Malformed
