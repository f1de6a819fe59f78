"""What an object stands on, by its colour: a model that answers by the table is better on one than on another."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protos.cores import cores
from training.augmentation import backdrop
from training.data.folder import Photo, open_image, upright

NO_FLAT: Final = "no flat backdrop"
_LOOK_PX: Final = 96  # a flat table is one at any size, and looking for it takes a fifth of the time
_GREY_BELOW: Final = 0.2  # saturation
_DARK_BELOW: Final = 0.2  # value: of so little light nobody names a colour
_GREYS: Final = ((0.25, "black"), (0.75, "grey"), (1.01, "white"))
_HUES: Final = ("red", "yellow", "green", "cyan", "blue", "magenta")  # a sixth of the circle each, red around 0


def tables(photos: Sequence[Photo]) -> tuple[str, ...]:
    """A name for each: a colour, or NO_FLAT. Raises OSError where a file is gone, PhotoBroken where it is none."""
    with ThreadPoolExecutor(cores()) as pool:
        return tuple(pool.map(_table, photos))


def named(pixels: NDArray[np.uint8]) -> str:
    """pixels: uint8 [H, W, 3]."""
    mask = backdrop.mask(pixels)
    if mask is None:
        return NO_FLAT
    red, green, blue = (np.median(pixels[mask], axis=0) / 255.0).tolist()
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if saturation < _GREY_BELOW or value < _DARK_BELOW:
        return next(name for below, name in _GREYS if value < below)
    return _HUES[round(hue * len(_HUES)) % len(_HUES)]


def _table(photo: Photo) -> str:
    with open_image(photo.path, photo.content()) as image:
        image.draft("RGB", (2 * _LOOK_PX, 2 * _LOOK_PX))
        small = upright(image).convert("RGB")
        small.thumbnail((_LOOK_PX, _LOOK_PX))
        return named(np.asarray(small))
