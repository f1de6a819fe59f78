"""Is a photograph itself good enough to learn from? Focus, light, contrast, size.

Measured as the gateway measures what it is sent (decision 0021), so that training data
and callers' photographs are judged by one standard: the luma of the largest centred
square, scaled down to CHECK_PX where it is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from protos.cores import cores
from training.data.folder import Photo, Progress, luma, open_image, upright

CHECK_PX: Final = 224
SIDE_PX_MIN: Final = 224  # of the shorter side: below, the model's input is made up by enlarging
SHARPNESS_VAR_MIN: Final = 60.0
BRIGHTNESS_RATIO_MIN: Final = 0.08
BRIGHTNESS_RATIO_MAX: Final = 0.90
CONTRAST_RATIO_MIN: Final = 0.03
_BLACK: Final = 5
_WHITE: Final = 250
# Half a picture without any drawing left is badly exposed, however its mean comes out.
CLIPPED_RATIO_MAX: Final = 0.5


class Flaw(StrEnum):
    """What stands in the way of learning from a photograph."""

    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    LOW_CONTRAST = "low_contrast"
    SMALL = "small"


@dataclass(frozen=True, slots=True)
class Quality:
    """The measures of one photograph."""

    sharpness_var: float  # variance of the 4-neighbour Laplacian of luma in 0..255; higher is sharper
    brightness_ratio: float  # mean luma, 0 to 1
    contrast_ratio: float  # standard deviation of luma, 0 to 1
    clipped_dark_ratio: float  # share of pixels at or near black
    clipped_bright_ratio: float


def measure(luma: NDArray[np.uint8]) -> Quality:
    """luma: uint8 [height, width], at least 3 x 3. Sharpness after Pech-Pacheco et al. 2000, eq. 4."""
    grey = luma.astype(np.int32)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return Quality(
        sharpness_var=float(laplacian.var()),
        brightness_ratio=float(grey.mean()) / 255,
        contrast_ratio=float(grey.std()) / 255,
        clipped_dark_ratio=float((luma <= _BLACK).mean()),
        clipped_bright_ratio=float((luma >= _WHITE).mean()),
    )


def flaws(quality: Quality, *, width_px: int, height_px: int) -> tuple[Flaw, ...]:
    """What is wrong with a photograph of these measures and this size; most have nothing."""
    dark = quality.brightness_ratio < BRIGHTNESS_RATIO_MIN or quality.clipped_dark_ratio > CLIPPED_RATIO_MAX
    bright = quality.brightness_ratio > BRIGHTNESS_RATIO_MAX or quality.clipped_bright_ratio > CLIPPED_RATIO_MAX
    found = (
        (Flaw.BLURRED, quality.sharpness_var < SHARPNESS_VAR_MIN),
        (Flaw.TOO_DARK, dark),
        (Flaw.TOO_BRIGHT, bright),
        (Flaw.LOW_CONTRAST, quality.contrast_ratio < CONTRAST_RATIO_MIN),
        (Flaw.SMALL, min(width_px, height_px) < SIDE_PX_MIN),
    )
    return tuple(flaw for flaw, present in found if present)


def qualities(photos: Sequence[Photo], *, progress: Progress | None = None) -> tuple[Quality, ...]:
    """The measures of photographs, in their order; each file is decoded once more."""
    found: list[Quality] = []
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        for quality in pool.map(lambda photo: measure(_luma(photo)), photos):
            found.append(quality)
            if progress is not None:
                progress(len(found), len(photos))
    return tuple(found)


def _luma(photo: Photo) -> NDArray[np.uint8]:
    with open_image(photo.path, photo.content()) as image:
        image.draft(None, (CHECK_PX, CHECK_PX))
        turned = luma(upright(image))
    side = min(turned.size)
    left, top = (turned.width - side) // 2, (turned.height - side) // 2
    size = max(3, min(side, CHECK_PX))
    square = turned.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.asarray(square, dtype=np.uint8)
