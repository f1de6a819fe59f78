"""Messages, counted before they are parsed: how many fields they have, and how many numbers in a row.

Two bytes of a message can become a hundred of objects, so that limits on bytes alone, which compression
makes cheap, bound no memory. A message is walked first, along tags and lengths and without making anything of
it; what is text or bytes is skipped by its length (decision 0173).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def cut(content: bytes, kind: Descriptor, *, bytes_min: int, put: Callable[[memoryview], bytes]) -> bytes:
    """A message that `check` has let pass, with another value in place of each field of bytes that has so many or more.

    put: what stands there instead of these bytes, which lie in `content` and are not copied.
    """
    return b"".join(_cut(memoryview(content), _Kind.of(kind), bytes_min, put))


def _cut(
    content: memoryview, within: _Kind, bytes_min: int, put: Callable[[memoryview], bytes]
) -> list[bytes | memoryview]:
    parts: list[bytes | memoryview] = []
    at = kept_from = 0
    children = within.children()
    while at < len(content):
        tag, at = _varint(content, at, len(content))
        wire = tag & 7
        if wire != _DELIMITED:
            at = _varint(content, at, len(content))[1] if wire == _VARINT else at + _FIXED[wire]
            continue
        named = at
        length, at = _varint(content, at, len(content))
        value, at = content[at : at + length], at + length
        child = children.get(tag >> 3)
        if length < bytes_min or child is _NUMBERS:
            continue
        if child is not None:
            instead = _cut(value, child, bytes_min, put)
        elif tag >> 3 in within.blobs():
            instead = [put(value)]
        else:
            continue
        parts += [content[kept_from:named], _varint_of(sum(map(len, instead))), *instead]
        kept_from = at
    parts.append(content[kept_from:])
    return parts


class _Kind:
    """What the walk knows of a kind of message; protobuf's own Descriptor takes a microsecond to be told apart."""

    def __init__(self, descriptor: Descriptor | None) -> None:
        self._descriptor = descriptor
        self._children: Mapping[int, _Kind] | None = None
        self._blobs: frozenset[int] | None = None

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

    def blobs(self) -> frozenset[int]:
        """The numbers of the fields that are bytes, which nothing is asked of."""
        if self._blobs is None:
            fields = self._descriptor.fields if self._descriptor is not None else ()
            self._blobs = frozenset(field.number for field in fields if field.type == FieldDescriptor.TYPE_BYTES)
        return self._blobs


_NUMBERS: Final = _Kind(None)


def _varint_of(value: int) -> bytes:
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)


def _varint(content: bytes | memoryview, at: int, end: int) -> tuple[int, int]:
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
