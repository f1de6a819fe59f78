"""From encoded bytes to the model's input: the same pixels as the handler's and training's."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw

from gateway.intake.pixels import WrongClaim, open_photo
from handlers.amulet_handler import pixels_of
from tests.unit.gateway.cast import encoded
from tests.unit.gateway.intake.test_formats import png_chunk

SIZE = (64, 64)
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 60), (20, 40, 210), (250, 250, 250)
ORIENTATION = 0x0112


def quarters(width_px: int = 200, height_px: int = 200) -> Image.Image:
    """Four colours, one in each quarter: every turn and flip of it looks different."""
    image = Image.new("RGB", (width_px, height_px))
    draw = ImageDraw.Draw(image)
    half = (width_px // 2, height_px // 2)
    for corner, colour in (((0, 0), RED), ((half[0], 0), GREEN), ((0, half[1]), BLUE), (half, WHITE)):
        draw.rectangle((corner, (corner[0] + half[0], corner[1] + half[1])), fill=colour)
    return image


def opened(photo: bytes, form: str, *, size_px: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    with Image.open(BytesIO(photo)) as image:
        stored_px = image.size
    return open_photo(photo, format_name=form, claimed_px=stored_px, size_px=size_px).pixels


def corners(pixels: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters, left to right, top to bottom."""
    near, far = pixels.shape[0] // 4, 3 * pixels.shape[0] // 4
    return [tuple(int(value) for value in pixels[row, column]) for row in (near, far) for column in (near, far)]


def close(found: Sequence[tuple[int, ...]], wanted: Sequence[tuple[int, ...]], *, within: int = 8) -> bool:
    return bool(np.abs(np.array(found) - np.array(wanted)).max() <= within)


# What a viewer must see for stored quarters R G / B W and each orientation (EXIF 2.32, tag 274).
UPRIGHT = {
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],
    3: [WHITE, BLUE, GREEN, RED],
    4: [BLUE, WHITE, RED, GREEN],
    5: [RED, BLUE, GREEN, WHITE],
    6: [BLUE, RED, WHITE, GREEN],
    7: [WHITE, GREEN, BLUE, RED],
    8: [GREEN, WHITE, RED, BLUE],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_all_eight_orientations_come_out_upright(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo = encoded(quarters(200, 120), form, exif=exif, quality=95)

    found = open_photo(photo, format_name=form, claimed_px=(200, 120), size_px=SIZE)

    assert close(corners(found.pixels), UPRIGHT[orientation], within=12)
    assert found.source_px == ((120, 200) if orientation > 4 else (200, 120))


def test_an_orientation_that_nobody_applies_would_be_noticed() -> None:
    """Negative control: as stored, the picture looks like none of the other seven."""
    stored = corners(opened(encoded(quarters(200, 120), "JPEG", quality=95), "JPEG"))

    assert [number for number, upright in UPRIGHT.items() if close(stored, upright, within=12)] == [1]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_cost_the_photograph() -> None:
    photo = encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(20), quality=95)

    assert close(corners(opened(photo, "JPEG")), UPRIGHT[1])


def rgb16_png() -> bytes:
    """A 16-bit-per-channel RGB PNG, which Pillow reads but cannot write."""
    pixels = np.asarray(quarters(), dtype=">u2") * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 200, 200, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND")


def grey16() -> Image.Image:
    return Image.fromarray(np.asarray(quarters().convert("L"), dtype=np.uint16) * 257)


GREY = [(value,) * 3 for value in (int(np.asarray(Image.new("RGB", (1, 1), c).convert("L"))[0, 0]) for c in UPRIGHT[1])]


@pytest.mark.parametrize(
    ("photo", "form", "wanted"),
    [
        (encoded(quarters().convert("CMYK"), "JPEG", quality=95), "JPEG", UPRIGHT[1]),
        (encoded(quarters().convert("L"), "JPEG", quality=95), "JPEG", GREY),
        (encoded(quarters().quantize(16), "PNG"), "PNG", UPRIGHT[1]),
        (encoded(quarters().convert("1"), "PNG"), "PNG", None),
        (encoded(grey16(), "PNG"), "PNG", GREY),
        (rgb16_png(), "PNG", UPRIGHT[1]),
        (encoded(quarters().convert("LA"), "PNG"), "PNG", GREY),
        (encoded(quarters(), "WEBP", lossless=True), "WEBP", UPRIGHT[1]),
    ],
    ids=["cmyk", "grey", "palette", "bilevel", "grey16", "rgb16", "grey-alpha", "webp"],
)
def test_every_kind_of_pixel_gives_the_right_colours(
    photo: bytes, form: str, wanted: list[tuple[int, ...]] | None
) -> None:
    found = opened(photo, form)

    assert found.shape == (64, 64, 3)
    assert found.dtype == np.uint8
    if wanted is not None:
        assert close(corners(found), wanted)


def test_transparency_lies_over_white() -> None:
    image = quarters().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((200, 200)).point(lambda level: 0 if level < 128 else 255))

    found = corners(opened(encoded(image, "PNG"), "PNG"))

    assert close(found, [(255, 255, 255), (255, 255, 255), BLUE, WHITE])


def test_a_transparent_palette_entry_lies_over_white() -> None:
    image = quarters().quantize(4)
    index = image.getpixel((10, 10))

    found = corners(opened(encoded(image, "PNG", transparency=index), "PNG"))

    assert close(found, [(255, 255, 255), GREEN, BLUE, WHITE])


def test_an_embedded_profile_is_applied() -> None:
    # A space whose red and green are swapped: were it ignored, the red quarter would stay red.
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = bytearray(srgb)
    tags = {bytes(srgb[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n for n in range(int.from_bytes(srgb[128:132]))}
    swapped[tags[b"rXYZ"] : tags[b"rXYZ"] + 4], swapped[tags[b"gXYZ"] : tags[b"gXYZ"] + 4] = b"gXYZ", b"rXYZ"
    photo = encoded(quarters(), "PNG", icc_profile=bytes(swapped))

    red, green, *_ = corners(opened(photo, "PNG"))

    assert red[1] > red[0]
    assert green[0] > green[1]


@pytest.mark.parametrize("profile", [b"no profile at all", b"\0" * 200])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    assert close(corners(opened(encoded(quarters(), "PNG", icc_profile=profile), "PNG")), UPRIGHT[1])


def photographs() -> list[tuple[str, str, bytes]]:
    noise = np.random.default_rng(7)
    smooth = Image.fromarray(noise.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize(
        (320, 240), Image.Resampling.BICUBIC
    )
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    kinds: list[tuple[str, str, dict[str, Any], Image.Image]] = [
        ("jpeg", "JPEG", {"quality": 90}, smooth),
        ("turned", "JPEG", {"quality": 90, "exif": exif}, smooth),
        ("cmyk", "JPEG", {"quality": 90}, smooth.convert("CMYK")),
        ("png", "PNG", {}, smooth),
        ("alpha", "PNG", {}, Image.merge("RGBA", (*smooth.split(), smooth.convert("L")))),
        ("palette", "PNG", {}, smooth.quantize(32)),
        ("grey16", "PNG", {}, Image.fromarray(np.asarray(smooth.convert("L"), dtype=np.uint16) * 201)),
        ("grey-alpha", "PNG", {}, Image.merge("LA", (smooth.convert("L"), smooth.convert("L")))),
        ("webp", "WEBP", {"quality": 90}, smooth),
        ("small", "PNG", {}, smooth.resize((50, 41))),
        ("profile", "PNG", {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}, smooth),
    ]
    return [(name, form, encoded(image, form, **options)) for name, form, options, image in kinds]


@pytest.mark.parametrize(
    ("name", "form", "photo"), photographs(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_pixels_are_the_handlers(name: str, form: str, photo: bytes) -> None:
    assert np.array_equal(opened(photo, form), pixels_of(photo, *SIZE[::-1]))


@pytest.mark.parametrize("size_px", [(64, 64), (224, 224), (300, 300), (160, 256)])
@pytest.mark.parametrize("shape", [(225, 300), (449, 448), (1000, 3000), (4000, 3000)])
def test_a_jpeg_that_is_decoded_at_a_fraction_is_the_handlers(shape: tuple[int, int], size_px: tuple[int, int]) -> None:
    coarse = np.random.default_rng(3).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    photo = encoded(Image.fromarray(coarse).resize(shape, Image.Resampling.BICUBIC), "JPEG", quality=92)

    assert np.array_equal(opened(photo, "JPEG", size_px=size_px), pixels_of(photo, *size_px[::-1]))


@pytest.mark.parametrize("size_px", [(64, 64), (224, 224), (300, 300)])
@pytest.mark.parametrize("shape", [(100, 150), (300, 224), (480, 640), (2000, 1500)])
def test_quality_does_not_depend_on_the_models_size(shape: tuple[int, int], size_px: tuple[int, int]) -> None:
    coarse = np.random.default_rng(4).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    photo = encoded(Image.fromarray(coarse).resize(shape, Image.Resampling.BICUBIC), "PNG")

    found = open_photo(photo, format_name="PNG", claimed_px=shape, size_px=size_px).quality
    reference = open_photo(photo, format_name="PNG", claimed_px=shape, size_px=(96, 96)).quality

    assert found.sharpness_var == pytest.approx(reference.sharpness_var, rel=0.02)
    assert found.brightness_ratio == pytest.approx(reference.brightness_ratio, abs=0.002)


def test_a_file_that_is_another_size_than_its_header_said_is_refused() -> None:
    with pytest.raises(WrongClaim):
        open_photo(encoded(quarters(), "PNG"), format_name="PNG", claimed_px=(64, 64), size_px=SIZE)


def test_another_format_than_the_one_that_was_checked_is_never_tried() -> None:
    with pytest.raises(OSError, match="cannot identify"):
        open_photo(encoded(quarters(), "GIF"), format_name="PNG", claimed_px=(200, 200), size_px=SIZE)
