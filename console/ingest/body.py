"""The bytes of a request, unpacked within limits: a small body must not become a large memory."""

from __future__ import annotations

import zlib
from typing import Final, Protocol

from console.errors import Invalid, TooLarge

PACKED_BYTES_MAX: Final = 16 * 2**20
UNPACKED_BYTES_MAX: Final = 64 * 2**20
_CHUNK_BYTES: Final = 64 * 1024


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


def read_body(stream: Readable, *, gzip: bool) -> bytes:
    """Everything that the stream holds, unpacked where it is gzip.

    Raises TooLarge as soon as a limit is passed, Invalid for bytes that are no gzip.
    """
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if gzip else None
    parts: list[bytes] = []
    packed = unpacked = 0
    while chunk := stream.read(_CHUNK_BYTES):
        packed += len(chunk)
        if packed > PACKED_BYTES_MAX:
            raise TooLarge(f"a batch may have at most {PACKED_BYTES_MAX} bytes on the wire")
        if unpack is not None:
            chunk = _unpacked(unpack, chunk, UNPACKED_BYTES_MAX + 1 - unpacked)
        unpacked += len(chunk)
        if unpacked > UNPACKED_BYTES_MAX:
            raise TooLarge(f"a batch may have at most {UNPACKED_BYTES_MAX} bytes unpacked")
        parts.append(chunk)
    if unpack is not None and not unpack.eof:
        raise Invalid("the body is cut off, or no gzip")
    return b"".join(parts)


def _unpacked(unpack: zlib._Decompress, chunk: bytes, bytes_max: int) -> bytes:
    try:
        content = unpack.decompress(chunk, bytes_max)
    except zlib.error:
        raise Invalid("the body is no gzip") from None
    if unpack.unused_data:
        raise Invalid("something follows the end of the gzip")
    return content
