"""Photographs before sending, and heat maps after. Needs the `photos` extra (Pillow, numpy)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, JpegImagePlugin

from amulet_client.answers import HeatMap
from amulet_client.models import ModelCard

# From no evidence to the strongest; in between, mixed. Dark to bright, so that it reads without colour too.
_SCALE: Final = ((0.0, (20, 11, 52)), (0.35, (120, 28, 109)), (0.65, (229, 92, 48)), (1.0, (252, 225, 120)))
# Of the shorter side, to what the model or the gateway's checks of sharpness look at: what they average stays fine.
_ROOM: Final = 2
_CHECKS_PX: Final = 256
# Of a JPEG, which is decoded at a part of its size: the full picture of a 200-megapixel phone. Of others Pillow's own.
_JPEG_PIXELS_MAX: Final = 16_384 * 12_288
_SWAPS_SIDES: Final = (5, 6, 7, 8)  # of EXIF 2.32 tag 274
_STRENGTH: Final = 0.62  # how much of the photograph the strongest evidence covers


def shrink(photo: bytes, longest_px: int = 1024) -> bytes:
    """The same photograph, upright, its longer side at most `longest_px`; JPEG, or PNG where it is transparent.

    A model sees the same in both: the colour profile stays, and other metadata goes. One that is small enough already
    is returned as it is. Raises OSError when it cannot be read.
    """
    with _opened(photo) as image:
        return _shrunk(photo, image, longest_px / max(image.size))


def shrink_for(photo: bytes, card: ModelCard) -> bytes:
    """The same photograph with no more pixels than this version can use, as `Client.get_model` tells; else as `shrink`.

    The shorter side becomes twice what the model looks at, and 512 px at least, for the gateway judges sharpness
    at 256 px. Raises OSError when it cannot be read.
    """
    shortest_px = _ROOM * max(*card.input_px, _CHECKS_PX)
    with _opened(photo) as image:
        return _shrunk(photo, image, shortest_px / min(image.size))


@contextmanager
def _opened(photo: bytes) -> Iterator[Image.Image]:
    """The photograph, to be decoded within the block. Whatever Pillow makes of broken bytes is an OSError."""
    try:
        with _read(photo) as image:
            yield image
    except OSError:
        raise
    except Exception as error:  # what Pillow's parsers raise has no common base: SyntaxError, DecompressionBombError
        raise OSError(f"it cannot be read as a photograph: {error}") from error


def _read(photo: bytes) -> Image.Image:
    if not photo.startswith(b"\xff\xd8\xff"):
        return Image.open(BytesIO(photo))
    image = JpegImagePlugin.JpegImageFile(BytesIO(photo))  # past Pillow's bound; of a phone's two pictures the first
    if image.width * image.height > _JPEG_PIXELS_MAX:
        raise OSError(f"it has {image.width} x {image.height} pixels, and at most {_JPEG_PIXELS_MAX:,} are read")
    return image


def _shrunk(photo: bytes, image: Image.Image, ratio: float) -> bytes:
    """image: the photograph, opened. Nothing is enlarged, and nothing that got no smaller is sent."""
    if ratio >= 1:
        return photo
    small_px = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    # A JPEG at 1/2, 1/4 or 1/8, at least twice as large as is wanted: a part of the time, and of the memory.
    image.draft(None, (2 * small_px[0], 2 * small_px[1]))
    upright = ImageOps.exif_transpose(image)
    profile = upright.info.get("icc_profile")
    is_turned = image.getexif().get(ExifTags.Base.Orientation) in _SWAPS_SIDES
    small = _of_eight_bits(upright).resize(small_px[::-1] if is_turned else small_px, Image.Resampling.LANCZOS)
    small.info.clear()  # Pillow would write a comment from here
    # Transparency stays, for the gateway lays colours over white only after the profile: before, edges would be others.
    form = "PNG" if small.mode == "RGBA" else "JPEG"
    out = BytesIO()
    small.save(out, form, quality=92, icc_profile=profile)
    return out.getvalue()


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """L, RGB, CMYK or RGBA, which the gateway reads as it reads the image itself, profile and all."""
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits a pixel: Pillow's convert would clip all but 8
        levels = np.asarray(image, dtype=np.float32) / 257
        image = Image.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB in sRGB, colours laid over white where they are transparent: what a gateway makes of it for the model.

    A profile that cannot be read, or is of other channels, counts as sRGB.
    """
    plain = _of_eight_bits(image)
    if plain.mode == "RGBA":
        white = Image.new("RGB", plain.size, (255, 255, 255))
        white.paste(_srgb(plain.convert("RGB"), profile), mask=plain.getchannel("A"))
        return white
    if profile:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(plain, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
    return plain.convert("RGB")


def heat_map_png(heat_map: HeatMap, *, size_px: int = 448) -> bytes:
    """The raw grid as a grey picture [size_px, size_px]; white is where the class's evidence is strongest."""
    return _png(Image.fromarray(_levels(heat_map, size_px), "L"))


def overlay_png(photo: bytes, heat_map: HeatMap, *, size_px: int = 448) -> bytes:
    """The heat map over the photograph's centred square, which is what the model saw.

    photo: the file that was sent as view `heat_map.view`. Raises OSError when it cannot be read.
    """
    with _opened(photo) as image:
        upright = ImageOps.exif_transpose(image)
        profile = upright.info.get("icc_profile")
        side = min(upright.size)
        left, top = (upright.width - side) // 2, (upright.height - side) // 2
        square = _srgb(upright.crop((left, top, left + side, top + side)), profile)
    square = square.resize((size_px, size_px), Image.Resampling.BICUBIC)
    evidence = _levels(heat_map, size_px) / 255.0
    stops, colours = [stop for stop, _ in _SCALE], np.array([colour for _, colour in _SCALE], dtype=np.float64)
    heat = np.stack([np.interp(evidence, stops, colours[:, channel]) for channel in range(3)], axis=-1)
    share = (_STRENGTH * np.sqrt(evidence))[..., None]
    mixed = np.asarray(square, dtype=np.float64) * (1 - share) + heat * share
    return _png(Image.fromarray(np.rint(mixed).astype(np.uint8), "RGB"))


def write_overlay(path: Path, photo: bytes, heat_map: HeatMap, *, size_px: int = 448) -> None:
    """Write the gateway's own overlay, or the one drawn here where it sent none, as a PNG file.

    Raises OSError when the photograph cannot be read or the file not be written.
    """
    path.write_bytes(heat_map.overlay_png or overlay_png(photo, heat_map, size_px=size_px))


def _levels(heat_map: HeatMap, size_px: int) -> NDArray[np.uint8]:
    """uint8 [size_px, size_px]; 255 is the strongest evidence, and all is 0 where there is none."""
    if len(heat_map.values) != heat_map.rows * heat_map.columns or not heat_map.values:
        raise ValueError(f"{len(heat_map.values)} values are no {heat_map.rows} x {heat_map.columns} heat map")
    grid = np.array(heat_map.values, dtype=np.float64).reshape(heat_map.rows, heat_map.columns)
    top = grid.max()
    levels = np.rint(255.0 * grid / top if top > 0 else np.zeros_like(grid)).astype(np.uint8)
    smooth = Image.fromarray(levels, "L").resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.uint8)


def _png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
