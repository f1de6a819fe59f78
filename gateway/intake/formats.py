"""What a photograph claims to be, read from its header before any pixel is decoded.

Own parsers of three headers, pure functions on bytes: they allocate nothing that the
header asks for and walk a bounded number of chunks, so that a hostile file costs no more
here than a millisecond or one look at each of its bytes. Whether the pixels keep what the
header promises is for the decoder.

Sources: JPEG ITU-T T.81 annex B; PNG (third edition) sections 5 and 11.2.1, APNG acTL;
WebP container specification (RFC 9649 section 2).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gateway import errors
from protos import photo_limits

ALLOWED: Final = "send a JPEG, PNG or WebP photograph"


class Format(IntEnum):
    JPEG = 1
    PNG = 2
    WEBP = 3
    RGB = 4  # no file: pixels as they are, three bytes each, row by row


@dataclass(frozen=True, slots=True)
class PhotoLimits:
    """What is refused by its header alone."""

    photo_bytes_max: int = photo_limits.BYTES_MAX
    pixels_max: int = photo_limits.PIXELS_MAX
    side_px_min: int = photo_limits.SIDE_PX_MIN


@dataclass(frozen=True, slots=True)
class Header:
    """A photograph's claim, within the limits. The pixels have not been looked at."""

    format: Format
    width_px: int  # as stored, before orientation
    height_px: int


def read_header(photo: bytes | memoryview, limits: PhotoLimits) -> Header:
    """The claim of an encoded photograph. Raises a PhotoRefused that says what is wrong."""
    if not photo:
        raise errors.PhotoMissing("the photograph is empty", wanted=ALLOWED)
    if len(photo) > limits.photo_bytes_max:
        raise errors.PhotoTooLarge(
            f"the photograph has {len(photo):,} bytes", wanted=f"at most {limits.photo_bytes_max:,} are accepted"
        )
    try:
        if photo[:3] == b"\xff\xd8\xff":
            return _jpeg(photo, limits)
        if photo[: len(_PNG)] == _PNG:
            return _png(photo, limits)
        if photo[:4] == b"RIFF" and photo[8:12] == b"WEBP":
            return _webp(photo, limits)
    except (struct.error, IndexError):
        raise _truncated() from None
    raise errors.PhotoFormatNotAllowed(f"the content is {_what_it_is(photo)}", wanted=ALLOWED)


def raw_header(photo: bytes | memoryview, raw_px: tuple[int, int], limits: PhotoLimits) -> Header:
    """The same for pixels that were never encoded. raw_px: (width, height), as their sender says."""
    width_px, height_px = raw_px
    if len(photo) > limits.photo_bytes_max:
        raise errors.PhotoTooLarge(
            f"the pixels have {len(photo):,} bytes",
            wanted=f"at most {limits.photo_bytes_max:,} are accepted: scale them down, or send a JPEG",
        )
    header = _claimed(Format.RGB, width_px, height_px, limits)
    if len(photo) != 3 * width_px * height_px:
        raise errors.PhotoCorrupt(
            f"{len(photo):,} bytes are not {width_px} x {height_px} pixels", wanted="send three bytes for each: RGB"
        )
    return header


_PNG: Final = b"\x89PNG\r\n\x1a\n"
# Ahead of a JPEG's frame a profile may be split into 255 segments, and what a phone adds (depth, a second picture's
# place, what was edited) into as many again; 20 MiB of full segments are 320. Those that we know have four to seven.
SEGMENTS_MAX: Final = 1000
# The pixels of a PNG come in chunks, of 8 KiB as libpng writes them: one for each so many bytes beyond the others.
_CHUNK_BYTES_MIN: Final = 4096
_MARKER: Final = re.compile(rb"\xff+")  # a marker may be padded
_STARTS_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC are no frames
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})


def _claimed(photo_format: Format, width_px: int, height_px: int, limits: PhotoLimits) -> Header:
    """The header as soon as the size is known: an absurd claim is named before anything else that is wrong."""
    if not width_px or not height_px:
        raise _corrupt(f"the {photo_format.name} has no size")
    if width_px * height_px > limits.pixels_max:
        raise errors.PhotoTooManyPixels(
            f"the photograph claims {width_px:,} x {height_px:,} pixels",
            wanted=f"at most {limits.pixels_max:,} in all are accepted",
        )
    if min(width_px, height_px) < limits.side_px_min:
        raise errors.PhotoTooSmall(
            f"the photograph has {width_px} x {height_px} pixels",
            wanted=f"each side needs at least {limits.side_px_min}",
        )
    return Header(photo_format, width_px, height_px)


def _truncated() -> errors.PhotoCorrupt:
    return errors.PhotoCorrupt("the photograph is cut off", wanted="send the whole file")


def _corrupt(what: str) -> errors.PhotoCorrupt:
    return errors.PhotoCorrupt(f"the photograph is damaged: {what}", wanted="export it again or take a new one")


def _jpeg(photo: bytes | memoryview, limits: PhotoLimits) -> Header:
    at = 2
    for _ in range(SEGMENTS_MAX):
        padding = _MARKER.match(photo, at)
        if padding is None:
            raise _corrupt("a JPEG marker is missing") if at < len(photo) else _truncated()
        at = padding.end()
        marker = photo[at]
        at += 1
        if marker in _STANDALONE:
            continue
        if marker in (0xD9, 0xDA):
            raise _corrupt("the JPEG has no frame header before its data")
        (length,) = struct.unpack_from(">H", photo, at)
        if marker in _STARTS_FRAME:
            height_px, width_px = struct.unpack_from(">HH", photo, at + 3)
            return _claimed(Format.JPEG, width_px, height_px, limits)
        if length < 2:
            raise _corrupt("a JPEG segment has no length")
        at += length
    raise _corrupt(f"the JPEG has more than {SEGMENTS_MAX:,} segments before its frame, which is too many")


def _png(photo: bytes | memoryview, limits: PhotoLimits) -> Header:
    length, kind, width_px, height_px = struct.unpack_from(">I4sII", photo, 8)
    if kind != b"IHDR" or length != 13:
        raise _corrupt("the PNG does not start with its header")
    header = _claimed(Format.PNG, width_px, height_px, limits)
    at, has_data = 8 + 12 + 13, False
    chunks_max = SEGMENTS_MAX + len(photo) // _CHUNK_BYTES_MIN
    for _ in range(chunks_max):
        length, kind = struct.unpack_from(">I4s", photo, at)
        if kind == b"acTL":
            raise errors.PhotoAnimated("the PNG is animated", wanted="send one still photograph per view")
        if kind == b"IDAT":
            has_data = True
        if kind == b"IEND":
            if not has_data:
                raise _corrupt("the PNG has no pixels")
            return header
        at += 12 + length
    raise _corrupt(f"the PNG has more than {chunks_max:,} chunks, which is too many for its size")


def _webp(photo: bytes | memoryview, limits: PhotoLimits) -> Header:
    (riff_bytes,) = struct.unpack_from("<I", photo, 4)
    kind = photo[12:16]
    if kind == b"VP8X":
        flags = photo[20]
        width_px = 1 + int.from_bytes(photo[24:27], "little")
        height_px = 1 + int.from_bytes(photo[27:30], "little")
        if flags & 0x02:
            raise errors.PhotoAnimated("the WebP is animated", wanted="send one still photograph per view")
    elif kind == b"VP8 ":
        if photo[23:26] != b"\x9d\x01\x2a":
            raise _truncated() if len(photo) < 26 else _corrupt("the WebP frame has no start code")
        width_px, height_px = (side & 0x3FFF for side in struct.unpack_from("<HH", photo, 26))
    elif kind == b"VP8L":
        if photo[20] != 0x2F:
            raise _corrupt("the WebP frame has no signature")
        (bits,) = struct.unpack_from("<I", photo, 21)
        width_px, height_px = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        raise _corrupt("the WebP has no frame")
    header = _claimed(Format.WEBP, width_px, height_px, limits)
    if len(photo) < 30 or len(photo) < 8 + riff_bytes:
        raise _truncated()
    return header


_KNOWN: Final = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\x00", "a TIFF or a raw photograph"),
    (b"MM\x00*", "a TIFF or a raw photograph"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"\x1f\x8b", "gzip data"),
)
_HEIF_BRANDS: Final = {b"avif": "an AVIF", b"avis": "an AVIF sequence"}


def _what_it_is(photo: bytes | memoryview) -> str:
    """A name for content that is not accepted, so that its sender can tell what went wrong."""
    head = bytes(photo[:512])
    for magic, name in _KNOWN:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(head[8:12], "a HEIC photograph or a video")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml")) or b"<svg" in start:
        return "an SVG drawing or XML"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return "none of the formats that are accepted"
