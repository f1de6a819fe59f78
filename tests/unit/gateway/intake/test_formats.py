"""Headers: what is refused before a pixel is decoded."""

from __future__ import annotations

import struct
import time
import zlib
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway import errors
from gateway.errors import PhotoRefused
from gateway.intake.formats import SEGMENTS_MAX, Format, Header, PhotoLimits, read_header
from tests.unit.gateway.cast import encoded

LIMITS = PhotoLimits()
PICTURE = Image.new("RGB", (640, 480), (200, 40, 40))


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width_px: int, height_px: int, *chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND")
    )


def jpeg(width_px: int, height_px: int, *, before: bytes = b"") -> bytes:
    frame = struct.pack(">BHHB", 8, height_px, width_px, 3) + bytes((1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1))
    return b"\xff\xd8" + before + b"\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xda"


def animated(form: str) -> bytes:
    out = BytesIO()
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (0, 200)]
    frames[0].save(out, form, save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


@pytest.mark.parametrize(
    ("photo", "wanted"),
    [
        (encoded(PICTURE, "JPEG"), Header(Format.JPEG, 640, 480)),
        (encoded(PICTURE, "JPEG", progressive=True), Header(Format.JPEG, 640, 480)),
        (encoded(PICTURE.convert("CMYK"), "JPEG"), Header(Format.JPEG, 640, 480)),
        (encoded(PICTURE, "PNG"), Header(Format.PNG, 640, 480)),
        (encoded(PICTURE.convert("P"), "PNG"), Header(Format.PNG, 640, 480)),
        (encoded(PICTURE, "WEBP"), Header(Format.WEBP, 640, 480)),
        (encoded(PICTURE, "WEBP", lossless=True), Header(Format.WEBP, 640, 480)),
        (encoded(PICTURE.convert("RGBA"), "WEBP"), Header(Format.WEBP, 640, 480)),
        (encoded(PICTURE, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"), Header(Format.WEBP, 640, 480)),
        (jpeg(640, 480, before=b"\xff\xff\xff\xe1\x00\x04ab"), Header(Format.JPEG, 640, 480)),  # a padded marker
    ],
)
def test_the_header_of_a_photograph_is_read_without_its_pixels(photo: bytes, wanted: Header) -> None:
    assert read_header(photo, LIMITS) == wanted


@pytest.mark.parametrize(
    ("photo", "refusal"),
    [
        (b"", errors.PhotoMissing),
        (bytes(LIMITS.photo_bytes_max + 1), errors.PhotoTooLarge),
        (png(65_535, 65_535), errors.PhotoTooManyPixels),
        (jpeg(65_500, 65_500), errors.PhotoTooManyPixels),
        (
            b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 65_535, 65_535, 8, 2, 0, 0, 0)),
            errors.PhotoTooManyPixels,
        ),
        (encoded(Image.new("RGB", (31, 400))), errors.PhotoTooSmall),
        (animated("PNG"), errors.PhotoAnimated),
        (animated("WEBP"), errors.PhotoAnimated),
        (animated("GIF"), errors.PhotoFormatNotAllowed),
        (encoded(PICTURE, "BMP"), errors.PhotoFormatNotAllowed),
        (encoded(PICTURE, "TIFF"), errors.PhotoFormatNotAllowed),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", errors.PhotoFormatNotAllowed),
        (b"\n<?xml version='1.0'?><svg/>", errors.PhotoFormatNotAllowed),
        (b"%PDF-1.7\n", errors.PhotoFormatNotAllowed),
        (b"PK\x03\x04" + bytes(30), errors.PhotoFormatNotAllowed),
        (b"\x00\x00\x00\x18ftypheic" + bytes(30), errors.PhotoFormatNotAllowed),
        (b"just some text", errors.PhotoFormatNotAllowed),
        (encoded(PICTURE, "JPEG")[:20], errors.PhotoCorrupt),
        (encoded(PICTURE, "PNG")[:-8], errors.PhotoCorrupt),
        (encoded(PICTURE, "WEBP")[:-8], errors.PhotoCorrupt),
        (jpeg(0, 480), errors.PhotoCorrupt),
        (b"\xff\xd8\xff\xd9", errors.PhotoCorrupt),
    ],
)
def test_what_is_no_acceptable_photograph_is_refused(photo: bytes, refusal: type[PhotoRefused]) -> None:
    with pytest.raises(refusal) as refused:
        read_header(photo, LIMITS)

    assert refused.value.wanted  # what would have been right


@pytest.mark.parametrize(
    ("photo", "named"),
    [
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04", "a ZIP"),
        (b"<svg/>", "an SVG"),
        (b"GIF89a", "a GIF"),
        (b"\x00\x00\x00\x18ftypheic", "a HEIC"),
        (b"\x00\x00\x00\x18ftypavif", "an AVIF"),
    ],
)
def test_the_refusal_names_what_was_sent(photo: bytes, named: str) -> None:
    with pytest.raises(errors.PhotoFormatNotAllowed, match=named):
        read_header(photo, LIMITS)


@given(
    st.binary(max_size=2000),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBPVP8X"]),
)
def test_any_bytes_are_read_or_refused(noise: bytes, magic: bytes) -> None:
    try:
        header = read_header(magic + noise, LIMITS)
    except PhotoRefused:
        return
    assert header.width_px * header.height_px <= LIMITS.pixels_max


@pytest.mark.parametrize(
    "magic", [b"\xff\xd8", b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))]
)
def test_a_file_of_nothing_but_segments_costs_little(magic: bytes) -> None:
    segment = b"\xff\xe1\x00\x02" if magic == b"\xff\xd8" else png_chunk(b"tEXt")
    photo = (magic + segment * 2_000_000)[: LIMITS.photo_bytes_max]
    began_s = time.thread_time()

    with pytest.raises(errors.PhotoCorrupt, match="too many"):
        read_header(photo, LIMITS)

    assert time.thread_time() - began_s < 1.0  # 2 ms; a walk to the end takes many seconds


def app(number: int, content: bytes) -> bytes:
    """An application segment of a JPEG."""
    return bytes((0xFF, 0xE0 + number)) + struct.pack(">H", 2 + len(content)) + content


def test_what_real_files_hold_beside_their_pixels_fits_with_room() -> None:
    profile = b"".join(app(2, b"ICC_PROFILE\0" + bytes((part, 255)) + bytes(8)) for part in range(1, 256))
    edited = b"".join(app(1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(8)) for _ in range(255))
    exif = app(1, b"Exif\0\0II*\0\x08\0\0\0\0\0")
    # The smallest chunks that an encoder is known to write, as many as fit.
    pixels = [png_chunk(b"IDAT", bytes(4096))] * ((LIMITS.photo_bytes_max - 2000) // (4096 + 12))
    texts = [png_chunk(b"tEXt", b"Comment\0x")] * 100

    assert read_header(jpeg(640, 480, before=exif + profile + edited), LIMITS) == Header(Format.JPEG, 640, 480)
    assert read_header(png(640, 480, *pixels), LIMITS) == Header(Format.PNG, 640, 480)
    assert read_header(png(640, 480, *texts, *pixels[:300]), LIMITS) == Header(Format.PNG, 640, 480)
    with_all = encoded(PICTURE, "WEBP", exif=exif[4:], icc_profile=bytes(5000), xmp=bytes(5000))
    assert read_header(with_all, LIMITS) == Header(Format.WEBP, 640, 480)


def test_a_small_file_of_many_segments_is_refused_after_a_thousand() -> None:
    read_header(jpeg(64, 64, before=app(0, b"") * (SEGMENTS_MAX - 1)), LIMITS)
    read_header(png(64, 64, *[png_chunk(b"tEXt")] * (SEGMENTS_MAX - 2)), LIMITS)

    with pytest.raises(errors.PhotoCorrupt, match="more than 1,000 segments"):
        read_header(jpeg(64, 64, before=app(0, b"") * SEGMENTS_MAX), LIMITS)
    with pytest.raises(errors.PhotoCorrupt, match=r"more than 1,004 chunks"):  # 18 kB
        read_header(png(64, 64, *[png_chunk(b"tEXt")] * 1500), LIMITS)


@pytest.mark.parametrize("bomb", [png(65_535, 65_535), jpeg(65_500, 65_500)])
def test_without_a_limit_on_pixels_a_bomb_would_pass(bomb: bytes) -> None:
    """Negative control: nothing else about these files is refused."""
    claimed = read_header(bomb, replace(LIMITS, pixels_max=2**32))

    assert claimed.width_px * claimed.height_px > LIMITS.pixels_max


def test_a_run_of_padding_costs_little() -> None:
    photo = b"\xff\xd8" + b"\xff" * (LIMITS.photo_bytes_max - 2)
    began_s = time.thread_time()

    with pytest.raises(errors.PhotoCorrupt):
        read_header(photo, LIMITS)

    assert time.thread_time() - began_s < 1.0  # 12 ms; byte by byte it takes several seconds
