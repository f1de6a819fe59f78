"""Photographs that nobody means well with, by name: what reliability asks a gateway to refuse in words, and more."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType

import numpy as np
from PIL import Image

from tests.unit.gateway.intake.test_formats import animated, jpeg, png, png_chunk

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Hostile:
    content: bytes
    may_be_answered: bool = False  # its picture is whole: what is hostile about it is dropped


def hostile_photographs() -> Mapping[str, Hostile]:
    """Name -> photograph. The bombs in it take some seconds to make."""
    whole = {form: _encoded(form) for form in ("JPEG", "PNG", "WEBP")}
    gibibyte = _zeros_packed(1024)
    ihdr = whole["PNG"].index(b"IHDR") - 4
    after_header = ihdr + 25
    head, tail = whole["PNG"][:after_header], whole["PNG"][after_header:]
    progressive = _encoded("JPEG", progressive=True)
    last_scan = progressive.rindex(b"\xff\xda")
    refused = {
        "PNG of 65,535 x 65,535": png(65_535, 65_535),
        "JPEG header of 65,500 x 65,500": jpeg(65_500, 65_500),
        "WebP canvas of 16,384 x 16,384": _webp_canvas(16_384),
        "WebP of many frames": animated("WEBP"),
        "PNG of many frames": animated("PNG"),
        "PNG of 10,000 frames, by its header": head + png_chunk(b"acTL", struct.pack(">II", 10_000, 0)) + tail,
        "JPEG cut in the middle": whole["JPEG"][: len(whole["JPEG"]) // 2],
        "PNG cut in the middle": whole["PNG"][: len(whole["PNG"]) // 2],
        "WebP cut in the middle": whole["WEBP"][: len(whole["WEBP"]) // 2],
        "PNG with a wrong checksum": head[:-1] + bytes([head[-1] ^ 1]) + tail,
        "PNG of no pixels": png(0, 64),
        "PNG without its pixels": head + png_chunk(b"IEND"),
        "JPEG of two bytes": b"\xff\xd8",
        "JPEG of nothing but padding": b"\xff\xd8" + b"\xff" * (2 * MIB),
        "JPEG one pixel wide": _encoded("JPEG", size=(1, 60_000)),
        "a file above 20 MiB": whole["JPEG"] + bytes(20 * MIB),
        "nothing": b"",
        "GIF": _encoded("GIF"),
        "TIFF": _encoded("TIFF"),
        "BMP": _encoded("BMP"),
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="99999999" height="99999999"/>',
        "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n",
        "ZIP": b"PK\x03\x04" + bytes(64),
        "HTML": b"<html><script>alert(1)</script></html>",
    }
    dropped = {
        "PNG of 64 x 64 whose pixels unpack to 1 GiB": png_with_pixels(64, 64, gibibyte),
        "PNG with a text that unpacks to 1 GiB": head + png_chunk(b"zTXt", b"Comment\0\0" + gibibyte) + tail,
        "PNG with a profile that unpacks to 1 GiB": head + png_chunk(b"iCCP", b"profile\0\0" + gibibyte) + tail,
        "JPEG of 2,000 scans": progressive[:last_scan] + progressive[last_scan:-2] * 2000 + b"\xff\xd9",
        "JPEG with EXIF of nonsense": whole["JPEG"][:2]
        + _segment(0xE1, b"Exif\0\0" + bytes(range(256)) * 8)
        + whole["JPEG"][2:],
        "JPEG with a ZIP behind it": whole["JPEG"] + b"PK\x03\x04" + bytes(4096),
    }
    return MappingProxyType(
        {
            **{name: Hostile(content) for name, content in refused.items()},
            **{name: Hostile(content, may_be_answered=True) for name, content in dropped.items()},
        }
    )


def png_with_pixels(width_px: int, height_px: int, packed: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND")


def _encoded(form: str, *, size: tuple[int, int] = (160, 120), **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def _zeros_packed(mebibytes: int) -> bytes:
    packer = zlib.compressobj(1)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(mebibytes)), packer.flush()])


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2) + content


def _webp_canvas(side_px: int) -> bytes:
    size = (side_px - 1).to_bytes(3, "little")
    chunk = b"VP8X" + (10).to_bytes(4, "little") + bytes(4) + size + size
    return b"RIFF" + (len(chunk) + 4).to_bytes(4, "little") + b"WEBP" + chunk
