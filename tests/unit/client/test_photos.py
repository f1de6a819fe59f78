"""Photographs made smaller, and heat maps laid over them."""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from amulet_client import HeatMap
from amulet_client.models import ModelCard
from amulet_client.photos import heat_map_png, overlay_png, shrink, shrink_for, write_overlay
from gateway.intake.pixels import open_photo
from tests.unit.client.cast import model_of

MAP = HeatMap(view=0, class_id="a", rows=2, columns=2, values=(0.0, 0.0, 0.0, 4.0), overlay_png=b"")


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def test_a_photograph_is_shrunk_upright_and_without_metadata() -> None:
    picture = Image.new("RGB", (2000, 1000), "red")
    exif = picture.getexif()
    exif[0x0112] = 6
    exif[0x010E] = "a canary"

    small = shrink(encoded(picture, exif=exif, comment=b"another canary", xmp=b"<a canary/>"), 500)

    assert b"canary" not in small
    with Image.open(BytesIO(small)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (250, 500))
        assert not opened.getexif()


KINDS = (
    "plain",
    "turned",
    "turned cut-out",
    "grey",
    "16-bit grey",
    "black and white",
    "CMYK",
    "palette",
    "palette with a colour that is clear",
    "colours with one that is clear",
    "cut-out",
    "grey cut-out",
    "WebP cut-out",
    "profile",
    "profile and turned",
    "profile of a palette",
    "profile of a cut-out",
    "profile of colours in grey",
    "profile of colours in CMYK",
    "profile that is none",
)


@cache  # seconds, and not while tests are collected: each process side by side collects all of them
def photographs() -> dict[str, bytes]:
    """The same smooth picture in every form of which the gateway's rule says more than "RGB", by its name in KINDS."""
    noise = np.random.default_rng(7)
    picture = Image.fromarray(noise.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize(
        (1200, 900), Image.Resampling.BICUBIC
    )
    grey, turned, swapped = picture.convert("L"), Image.Exif(), swapped_profile()
    turned[0x0112] = 6
    of_eight, of_many = picture.quantize(8), picture.quantize(32)
    cut_out = Image.merge("RGBA", (*picture.split(), grey.point(lambda level: 0 if level < 100 else level)))
    kinds: list[tuple[str, str, Image.Image, dict[str, Any]]] = [
        ("plain", "JPEG", picture, {}),
        ("turned", "JPEG", picture, {"exif": turned}),
        ("turned cut-out", "PNG", cut_out, {"exif": turned}),
        ("grey", "JPEG", grey, {}),
        ("16-bit grey", "PNG", Image.fromarray(np.asarray(grey, dtype=np.uint16) * 201), {}),
        ("black and white", "PNG", grey.point(lambda level: 255 * (level > 99), "1"), {}),
        ("CMYK", "JPEG", picture.convert("CMYK"), {}),
        ("palette", "PNG", of_many, {}),
        ("palette with a colour that is clear", "PNG", of_many, {"transparency": 3}),
        ("colours with one that is clear", "PNG", of_eight.convert("RGB"), {"transparency": clear(of_eight)}),
        ("cut-out", "PNG", cut_out, {}),
        ("grey cut-out", "PNG", cut_out.convert("LA"), {}),
        ("WebP cut-out", "WEBP", cut_out, {"lossless": True}),
        ("profile", "JPEG", picture, {"icc_profile": swapped}),
        ("profile and turned", "PNG", picture, {"icc_profile": swapped, "exif": turned}),
        ("profile of a palette", "PNG", of_many, {"icc_profile": swapped}),
        ("profile of a cut-out", "PNG", cut_out, {"icc_profile": swapped}),
        ("profile of colours in grey", "JPEG", grey, {"icc_profile": swapped}),
        ("profile of colours in CMYK", "JPEG", picture.convert("CMYK"), {"icc_profile": swapped}),
        ("profile that is none", "JPEG", picture, {"icc_profile": b"no profile at all"}),
    ]
    made = {name: encoded(image, form, **{"quality": 95} | options) for name, form, image, options in kinds}
    assert tuple(made) == KINDS
    return made


@pytest.fixture(params=KINDS)
def photo(request: pytest.FixtureRequest) -> bytes:
    return photographs()[request.param]


def clear(of_eight: Image.Image) -> tuple[int, ...]:
    """One of the colours of this picture of eight."""
    colour = of_eight.convert("RGB").getpixel((600, 450))
    assert isinstance(colour, tuple)
    return tuple(int(level) for level in colour)


def swapped_profile() -> bytes:
    """sRGB with red and green exchanged: whoever loses it is seen at once."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {bytes(profile[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n for n in range(int.from_bytes(profile[128:132]))}
    profile[at[b"rXYZ"] : at[b"rXYZ"] + 4], profile[at[b"gXYZ"] : at[b"gXYZ"] + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def seen(photo: bytes) -> NDArray[np.int64]:
    """The pixels that a gateway would give to a model of 64 px."""
    with Image.open(BytesIO(photo)) as image:
        form, stored_px = image.format, image.size
    assert form in ("JPEG", "PNG", "WEBP")
    return open_photo(photo, format_name=form, claimed_px=stored_px, size_px=(64, 64)).pixels.astype(np.int64)


def test_a_gateway_sees_the_same_in_a_shrunk_photograph_as_in_the_whole_one(photo: bytes) -> None:
    small = shrink(photo, 600)

    assert max(size_of(small)) == 600
    # Of 255; what a JPEG loses, and its decoding at a part of its size, most where there are hard edges.
    assert np.abs(seen(photo) - seen(small)).mean() < 3


def test_an_overlay_is_laid_over_what_the_gateway_sees(photo: bytes) -> None:
    nothing = replace(MAP, values=(0.0, 0.0, 0.0, 0.0))

    drawn = np.asarray(Image.open(BytesIO(overlay_png(photo, nothing, size_px=64))), dtype=np.int64)

    assert np.abs(seen(photo) - drawn).mean() < 2  # of 255; the gateway decodes a JPEG at a part of its size


def test_a_photograph_that_is_damaged_or_absurdly_large_is_an_os_error() -> None:
    photo = encoded(Image.new("RGB", (200, 100), "red"), "PNG")
    # The pixels' chunk ends early, and what follows is none: a SyntaxError of Pillow's.
    cut = photo[:33] + (10).to_bytes(4) + photo[37:59] + bytes(4) + photo[63:]
    promise = photo[:16] + (60_000).to_bytes(4) * 2 + photo[24:29]
    bomb = promise + zlib.crc32(promise[12:]).to_bytes(4) + photo[33:]

    for broken in (cut, bomb):
        with pytest.raises(OSError, match="cannot be read as a photograph"):
            shrink(broken, 50)
        with pytest.raises(OSError, match="cannot be read as a photograph"):
            overlay_png(broken, MAP)


@pytest.mark.filterwarnings("error")
def test_the_full_picture_of_a_phone_is_shrunk_whatever_pillow_says_of_so_many_pixels() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = Image.new("L", (16_384, 12_288))
    picture.paste(255, (0, 0, 8192, 12_288))

    small = Image.open(BytesIO(shrink(encoded(picture, exif=turned), 400)))

    assert small.size == (300, 400)
    assert (small.getpixel((150, 100)), small.getpixel((150, 300))) == (255, 0)  # upright: what was left is above


def test_a_jpeg_of_more_pixels_than_any_phone_makes_is_told_by_its_size() -> None:
    photo = encoded(Image.new("RGB", (8, 8)))
    at = photo.index(b"\xff\xc0") + 5
    promise = photo[:at] + (60_000).to_bytes(2) * 2 + photo[at + 4 :]

    with pytest.raises(OSError, match="60000 x 60000 pixels, and at most 201,326,592 are read"):
        shrink(promise, 50)


def test_a_small_photograph_is_sent_as_it_is() -> None:
    photo = encoded(Image.new("RGB", (300, 200)))
    assert shrink(photo, 300) is photo


def test_a_photograph_is_shrunk_to_what_a_version_can_use_and_never_enlarged() -> None:
    card = ModelCard.of(model_of("m", "v").card)  # 224 x 192: the checks at 256 px look at more
    large = replace(card, input_px=(380, 380))
    picture = Image.new("RGB", (1200, 2000))
    exif = picture.getexif()
    exif[0x0112] = 6
    whole = encoded(picture, exif=exif)

    assert [size_of(shrink_for(whole, each)) for each in (card, large)] == [(853, 512), (1267, 760)]
    small = encoded(Image.new("RGB", (512, 4000)))
    assert shrink_for(small, card) is small


def size_of(photo: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(photo)) as opened:
        return opened.size


def test_what_is_no_photograph_is_an_os_error() -> None:
    with pytest.raises(OSError, match="identify"):
        shrink(b"nothing of the kind")


def test_the_strongest_evidence_is_white_and_none_is_black() -> None:
    pixels = np.asarray(Image.open(BytesIO(heat_map_png(MAP, size_px=100))))
    assert pixels.shape == (100, 100)
    assert pixels[-1, -1] == 255
    assert pixels[0, 0] == 0
    nothing = HeatMap(view=0, class_id="a", rows=1, columns=2, values=(0.0, 0.0), overlay_png=b"")
    assert not np.asarray(Image.open(BytesIO(heat_map_png(nothing, size_px=10)))).any()


def test_an_overlay_shows_the_centred_square_and_glows_where_the_evidence_is() -> None:
    photo = Image.new("RGB", (200, 100), (0, 0, 255))
    photo.paste((128, 128, 128), (50, 0, 150, 100))
    pixels = np.asarray(Image.open(BytesIO(overlay_png(encoded(photo, quality=100), MAP, size_px=100))), dtype=int)
    assert np.abs(pixels[5, 5] - 128).max() < 4  # grey: neither the blue outside the square nor heat
    assert pixels[95, 95, 0] - pixels[95, 95, 2] > 60


def test_values_that_are_no_grid_are_refused() -> None:
    wrong = HeatMap(view=0, class_id="a", rows=3, columns=3, values=(1.0,), overlay_png=b"")
    with pytest.raises(ValueError, match="3 x 3"):
        heat_map_png(wrong)


def test_the_gateway_s_own_overlay_is_preferred(tmp_path: Path) -> None:
    photo = encoded(Image.new("RGB", (64, 64)))
    drawn = HeatMap(view=0, class_id="a", rows=1, columns=1, values=(1.0,), overlay_png=b"its own")
    write_overlay(tmp_path / "its.png", photo, drawn)
    assert (tmp_path / "its.png").read_bytes() == b"its own"
    write_overlay(tmp_path / "ours.png", photo, MAP, size_px=32)
    with Image.open(tmp_path / "ours.png") as opened:
        assert opened.size == (32, 32)
