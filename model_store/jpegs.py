"""What a JPEG holds, read from its segments without decoding a pixel."""

from __future__ import annotations

import struct
from typing import Final

# Pixels and what they need to be read. No EXIF, no profile, no comment.
_SEGMENTS: Final = frozenset({0xE0, 0xDB, 0xC0, 0xC2, 0xC4, 0xDA})
_FRAMES: Final = frozenset({0xC0, 0xC2})
_SCAN: Final = 0xDA


def complaint(content: bytes, *, bytes_max: int, side_px_max: int) -> str | None:
    """What is wrong, to be read after the picture's name; None for a whole JPEG of pixels and nothing beside them."""
    if len(content) > bytes_max:
        return f"has {len(content)} bytes; at most {bytes_max} are accepted"
    if content[:2] != b"\xff\xd8" or content[-2:] != b"\xff\xd9":
        return "is not a whole JPEG"
    at, size_px = 2, 0
    while at + 9 <= len(content):
        mark, kind, length = struct.unpack_from(">BBH", content, at)
        if mark != 0xFF or kind not in _SEGMENTS:
            return "holds more than pixels: write it without EXIF, profile and comment"
        if kind in _FRAMES:
            size_px = max(struct.unpack_from(">HH", content, at + 5))
        if kind == _SCAN:
            return None if 0 < size_px <= side_px_max else f"is larger than {side_px_max} x {side_px_max} pixels"
        at += 2 + length
    return "is cut off"
