"""From an encoded photograph to the model's input: one rule for training and serving."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from handlers import amulet_handler
from handlers.amulet_handler import PhotoRefused, pixels_of
from protos.amulet.v1 import vocabulary_pb2 as words

ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_photograph_of_the_models_size_is_left_as_it_is() -> None:
    pixels = noise(40, 40)
    assert np.array_equal(pixels_of(encoded(Image.fromarray(pixels)), 40, 40), pixels)


@given(side=st.integers(2, 40), ratio=st.floats(1.0, 3.9), seed=st.integers(0, 99))
def test_shrinking_is_bicubic_and_antialiased(side: int, ratio: float, seed: int) -> None:
    """The oracle is the sum by Keys' kernel in float64; Pillow rounds between its two passes, too."""
    pixels = noise(int(side * ratio), int(side * ratio), seed=seed) // 4 + 96  # far from where sums are cut off

    found = pixels_of(encoded(Image.fromarray(pixels)), side, side)

    weights = keys(side, len(pixels))
    assert np.abs(found - np.einsum("ir,rsc,js->ijc", weights, pixels, weights, optimize=True)).max() < 2.0


def keys(wanted: int, given: int) -> NDArray[np.float64]:
    """[wanted, given] weights of Keys' cubic convolution (1981, a = -1/2), stretched as far as the picture shrinks."""
    ratio = given / wanted
    centres = (np.arange(wanted) + 0.5) * ratio
    x = np.abs((np.arange(given) + 0.5 - centres[:, np.newaxis]) / ratio)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


def test_a_jpeg_is_decoded_at_the_smallest_scale_that_leaves_what_is_looked_at() -> None:
    """Rows of black and white in turn, each eight times as high as in the model: their mean is grey at an eighth."""
    fine = np.repeat(np.where(np.arange(8 * 224) % 2 == 0, 0, 255).astype(np.uint8)[:, np.newaxis], 8 * 224, axis=1)
    photo = encoded(Image.fromarray(fine).convert("RGB"), "JPEG", quality=95)
    eighth = Image.open(BytesIO(photo))
    eighth.draft(None, (224, 224))

    assert eighth.size == (224, 224)
    assert np.array_equal(pixels_of(photo, 224, 224), np.asarray(eighth.convert("RGB")))
    assert np.array_equal(pixels_of(photo, 64, 64), np.asarray(eighth.resize((64, 64), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("side", [300, 330, 400, 1000])
def test_fine_stripes_come_out_as_their_mean(kind: str, side: int) -> None:
    """What is too fine for the model's pixels must not come back as coarse stripes (aliasing)."""
    stripes = np.where(np.arange(side) % 2 == 0, 96, 160).astype(np.uint8)
    photo = encoded(Image.fromarray(np.tile(stripes, (side, 1))).convert("RGB"), kind, quality=95)

    found = pixels_of(photo, 224, 224)[8:-8, 8:-8].astype(np.float64)

    assert abs(found.mean() - 128) < 4
    assert found.std() < 8  # the mean of whole pixels has 26, 23 and 15 for the first three sizes


def test_enlarging_is_bilinear() -> None:
    pixels = noise(10, 10)
    image = Image.fromarray(pixels)
    assert np.array_equal(
        pixels_of(encoded(image), 32, 32), np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
    )


@pytest.mark.parametrize(("height", "width"), [(31, 64), (64, 31), (32, 65)])
def test_the_largest_centred_square_is_taken(height: int, width: int) -> None:
    pixels = noise(height, width)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2

    found = pixels_of(encoded(Image.fromarray(pixels)), side, side)

    assert np.array_equal(found, pixels[top : top + side, left : left + side])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_all_eight_orientations_come_out_upright(kind: str) -> None:
    upright = np.zeros((48, 48, 3), dtype=np.uint8)
    upright[:24, :24] = (255, 0, 0)
    upright[:24, 24:] = (0, 255, 0)
    upright[24:, :24] = (0, 0, 255)
    # How each orientation stores an upright picture (EXIF 2.32, table 6).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    for orientation, picture in stored.items():
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        photo = encoded(Image.fromarray(np.ascontiguousarray(picture)), kind, exif=exif, quality=100)

        found = pixels_of(photo, 48, 48)

        for row, column in ((10, 10), (10, 38), (38, 10), (38, 38)):
            assert np.abs(found[row, column].astype(int) - upright[row, column]).max() < 30, orientation


def test_a_wrong_or_broken_orientation_is_no_orientation() -> None:
    pixels = noise(32, 32)
    exif = Image.Exif()
    exif[ORIENTATION] = 9
    assert np.array_equal(pixels_of(encoded(Image.fromarray(pixels), exif=exif), 32, 32), pixels)
    assert np.array_equal(pixels_of(encoded(Image.fromarray(pixels), exif=b"Exif\0\0II*\0\xff\xff"), 32, 32), pixels)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    image = Image.new(mode, (32, 32), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    half = Image.new(mode, (32, 16), (0, 0, 0, 128) if mode == "RGBA" else (0, 128))
    image.paste(half, (0, 16))

    found = pixels_of(encoded(image), 32, 32)

    assert (found[:16] == 255).all()
    assert np.abs(found[16:].astype(int) - 127).max() <= 1


def test_a_transparent_palette_and_a_transparent_colour_are_white() -> None:
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([10, 20, 30] + [0, 0, 0] * 255)
    assert (pixels_of(encoded(palette, transparency=0), 32, 32) == 255).all()
    assert (pixels_of(encoded(palette), 32, 32)[0, 0] == (10, 20, 30)).all()
    colour = Image.new("RGB", (32, 32), (10, 20, 30))
    assert (pixels_of(encoded(colour, transparency=(10, 20, 30)), 32, 32) == 255).all()


@pytest.mark.parametrize(("mode", "value", "wanted"), [("L", 77, 77), ("1", 1, 255), ("I;16", 77 * 257, 77)])
def test_grey_and_sixteen_bit_photographs_keep_their_levels(mode: str, value: int, wanted: int) -> None:
    found = pixels_of(encoded(Image.new(mode, (32, 32), value)), 32, 32)
    assert (found == wanted).all()


def test_cmyk_photographs_are_read() -> None:
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    found = pixels_of(encoded(red, "JPEG", quality=100), 32, 32)
    assert np.abs(found.astype(int) - (255, 0, 0)).max() <= 3


def test_an_embedded_profile_is_honoured_and_a_broken_one_ignored() -> None:
    pixels = noise(32, 32)
    image = Image.fromarray(pixels)
    same_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    same = pixels_of(encoded(image, icc_profile=same_profile), 32, 32)
    swapped = pixels_of(encoded(image, icc_profile=_swapped_primaries()), 32, 32)
    broken = pixels_of(encoded(image, icc_profile=b"no profile at all"), 32, 32)

    assert np.abs(same.astype(int) - pixels).max() <= 1
    assert np.abs(swapped.astype(int) - pixels).max() > 50
    assert np.array_equal(broken, pixels)


def _swapped_primaries() -> bytes:
    """An sRGB profile that says red where sRGB says blue: the tags of both primaries exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def test_metadata_does_not_reach_the_pixels() -> None:
    exif = Image.Exif()
    exif[0x010E] = "canary"
    pixels = noise(32, 32)
    assert np.array_equal(pixels_of(encoded(Image.fromarray(pixels), exif=exif), 32, 32), pixels)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(b""))


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


JPEG = encoded(Image.fromarray(noise(64, 64)), "JPEG")
REFUSED = {
    "empty": (b"", words.REASON_PHOTO_MISSING),
    "not a photograph": (b"%PDF-1.7 and so on", words.REASON_PHOTO_FORMAT_NOT_ALLOWED),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", words.REASON_PHOTO_FORMAT_NOT_ALLOWED),
    "another format": (encoded(Image.new("RGB", (32, 32)), "BMP"), words.REASON_PHOTO_FORMAT_NOT_ALLOWED),
    "a gif": (encoded(Image.new("P", (32, 32)), "GIF"), words.REASON_PHOTO_FORMAT_NOT_ALLOWED),
    "truncated": (JPEG[: len(JPEG) // 2], words.REASON_PHOTO_CORRUPT),
    "a jpeg's header alone": (JPEG[:30], words.REASON_PHOTO_CORRUPT),
    "a png's first bytes": (b"\x89PNG\r\n\x1a\n-", words.REASON_PHOTO_CORRUPT),
    "a bomb": (png_header(65_535, 65_535), words.REASON_PHOTO_TOO_MANY_PIXELS),
    "a little too many pixels": (png_header(8_001, 8_000), words.REASON_PHOTO_TOO_MANY_PIXELS),
    "no pixels behind a header": (png_header(32, 32), words.REASON_PHOTO_CORRUPT),
    "an animated png": (animated("PNG"), words.REASON_PHOTO_ANIMATED),
    "an animated webp": (animated("WEBP"), words.REASON_PHOTO_ANIMATED),
    "too many bytes": (JPEG + bytes(20 * 1024 * 1024), words.REASON_PHOTO_TOO_LARGE),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_reason(case: str) -> None:
    photo, reason = REFUSED[case]
    with pytest.raises(PhotoRefused) as refused:
        pixels_of(photo, 32, 32)
    assert refused.value.reason == reason
    assert str(refused.value)


@given(cut=st.integers(1, len(JPEG)), at=st.integers(0, len(JPEG) - 1), value=st.integers(0, 255))
def test_a_damaged_photograph_is_read_or_refused(cut: int, at: int, value: int) -> None:
    damaged = bytearray(JPEG[:cut])
    if at < cut:
        damaged[at] = value
    try:
        found = pixels_of(bytes(damaged), 16, 16)
    except PhotoRefused:
        return
    assert found.shape == (16, 16, 3)


def test_the_handlers_reasons_are_those_of_the_contract() -> None:
    names = [name for name in vars(amulet_handler) if f"REASON_{name}" in words.Reason.keys()]  # noqa: SIM118 - no dict
    assert len(names) == 10
    assert {name: getattr(amulet_handler, name) for name in names} == {
        name: words.Reason.Value(f"REASON_{name}") for name in names
    }
