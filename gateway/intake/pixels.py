"""Encoded bytes to the model's input: the one rule that training and handler follow too.

A JPEG at a fraction of its size, orientation from EXIF applied, colours to sRGB (embedded profile,
CMYK, 16 bit, palette), transparency over white, the largest centred square, bicubic down or bilinear up to the
model's size. Runs only inside a decoder process: this is where hostile bytes meet C.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from gateway.intake.quality import CHECK_SIDE_PX, Quality, measure

REDUCING_GAP: Final = (
    3.0  # large PNG and WebP files are averaged by whole pixels to at least three times the size first
)
RAW: Final = "RGB"  # the name of what is no format: pixels as they are


@dataclass(frozen=True, slots=True)
class Opened:
    pixels: NDArray[np.uint8]  # [height, width, 3], RGB, upright, at the model's size
    source_px: tuple[int, int]  # (width, height) upright, before scaling
    quality: Quality


class WrongClaim(ValueError):
    """The decoder found another size than the header that was checked."""


def open_photo(photo: bytes, *, format_name: str, claimed_px: tuple[int, int], size_px: tuple[int, int]) -> Opened:
    """Decode one photograph to `size_px` (width, height).

    format_name: the only format that Pillow may try, or RAW.  claimed_px: as stored, (width,
    height), already within the limits.  Raises whatever Pillow raises on bad bytes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image: Image.Image = (
            Image.frombuffer("RGB", claimed_px, photo, "raw", "RGB", 0, 1)
            if format_name == RAW
            else Image.open(io.BytesIO(photo), formats=[format_name])
        )
        if image.size != claimed_px:
            raise WrongClaim(f"the header says {claimed_px}, the decoder {image.size}")
        if format_name == "JPEG":
            # At 1/2, 1/4 or 1/8, whatever leaves as many pixels as are looked at: the inverse DCT of fewer coefficients
            # is an antialiased reduction in itself, at a fraction of the time (decision 0190).
            wanted_px = max(*size_px, CHECK_SIDE_PX)
            image.draft(None, (wanted_px, wanted_px))
        image.load()
        turn = _TURN_OF.get(_orientation(image))
        source_px = claimed_px[::-1] if turn in _SWAPS_SIDES else claimed_px
        profile = image.info.get("icc_profile")
        if turn is not None:
            image = image.transpose(turn)
    square = to_srgb(centre_square(image), profile)
    seen = _resized(square, size_px)
    return Opened(
        pixels=np.asarray(seen, dtype=np.uint8),
        source_px=source_px,
        quality=measure(np.asarray(_luma(square, seen), dtype=np.uint8)),
    )


def _luma(square: Image.Image, seen: Image.Image) -> Image.Image:
    """The square's luma at the size of the checks, never enlarged; from what the model sees where that is this size."""
    side_px = min(square.width, CHECK_SIDE_PX)
    if seen.size == (side_px, side_px):
        return seen.convert("L")
    return _resized(square.convert("L"), (side_px, side_px))  # one band is scaled, not three


# EXIF 2.32 tag 274: what has to be done to the stored pixels to see them upright.
_TURN_OF: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES: Final = frozenset(_TURN_OF[orientation] for orientation in (5, 6, 7, 8))
_ORIENTATION_TAG: Final = 0x0112


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 where there is none. A damaged EXIF block is no reason to refuse good pixels."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def centre_square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """8-bit RGB in sRGB, transparency laid over white. A profile that cannot be read is sRGB."""
    if (
        image.mode.startswith("I") or image.mode == "F"
    ):  # 16 bits a pixel, of which Pillow's convert would clip all but 8
        levels = np.asarray(image, dtype=np.float64) / 257
        image = Image.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "La", "RGBa", "PA"):
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(_through_profile(rgba.convert("RGB"), profile), mask=rgba.getchannel("A"))
        return white
    if image.mode in ("1", "P"):
        image = image.convert("RGB")
    return _through_profile(image, profile)


def _through_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # e.g. a grey profile in a colour photograph: common, and harmless
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _resized(square: Image.Image, size_px: tuple[int, int]) -> Image.Image:
    if square.size == size_px:
        return square
    shrinking = square.width >= size_px[0] and square.height >= size_px[1]
    resample = Image.Resampling.BICUBIC if shrinking else Image.Resampling.BILINEAR
    return square.resize(size_px, resample, reducing_gap=REDUCING_GAP)
