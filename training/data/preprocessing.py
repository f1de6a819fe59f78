"""What could be done to every photograph before a network sees it: local contrast, and less noise.

Pure functions on pictures of the network's size. Both are measured (`amulet ablate --over preprocessing`), and neither
is part of what is served (decision 0143): whatever a network learns behind a step, it must be asked behind it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

NO_DENOISING: Final = "none"
MEDIAN: Final = "median"
BILATERAL: Final = "bilateral"
DENOISERS: Final = (NO_DENOISING, MEDIAN, BILATERAL)
_LEVELS: Final = 256
_MEDIAN_PX: Final = 3
# What a sensor's noise needs: wider windows smear the grain of clay, which tells some classes apart.
_RADIUS_PX: Final = 2
_SPACE_PX: Final = 1.5  # standard deviations of the bilateral weights
_RANGE: Final = 25.0  # of 0..255, over all three channels together
Pixels = NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done, in this order."""

    denoise: str = NO_DENOISING  # one of DENOISERS
    clahe_clip: float = 0.0  # times the mean count that a level may have in its tile; 0: contrast stays as it is
    clahe_tiles: int = 8  # a side


def prepared(pixels: Pixels, how: Preprocessing | None) -> Pixels:
    """The picture as a network behind these steps sees it; None: as it is."""
    if how is None:
        return pixels
    if how.denoise == MEDIAN:
        pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.MedianFilter(_MEDIAN_PX)))
    elif how.denoise == BILATERAL:
        pixels = bilateral(pixels)
    return clahe(pixels, clip=how.clahe_clip, tiles=how.clahe_tiles) if how.clahe_clip else pixels


def clahe(pixels: Pixels, *, clip: float, tiles: int) -> Pixels:
    """Contrast-limited adaptive histogram equalisation of the luma (Zuiderveld 1994); colour differences stay.

    clip: times the mean count that a level may have in its tile, above 0; what lies above is shared by all levels.
    tiles: a side, not more than pixels.
    """
    parts = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
    luma = parts[..., 0]
    maps = _tone_maps(luma, clip, tiles)
    (above, below, down), (left, right, across) = (_between(side, tiles) for side in luma.shape)
    near, far = (
        maps[row[:, None], left[None, :], luma] * (1.0 - across) + maps[row[:, None], right[None, :], luma] * across
        for row in (above, below)
    )
    raised = near * (1.0 - down[:, None]) + far * down[:, None]
    whole = np.dstack([raised.round().clip(0, _LEVELS - 1).astype(np.uint8), parts[..., 1:]])
    return np.asarray(Image.fromarray(whole, "YCbCr").convert("RGB"))


def bilateral(pixels: Pixels) -> Pixels:
    """Each pixel the mean of its surroundings, near ones of its own colour counting most (Tomasi and Manduchi 1998)."""
    height, width, _ = pixels.shape
    own = pixels.astype(np.float32)
    around = np.pad(own, ((_RADIUS_PX, _RADIUS_PX), (_RADIUS_PX, _RADIUS_PX), (0, 0)), mode="edge")
    total, weights = np.zeros_like(own), np.zeros((height, width, 1), np.float32)
    steps = range(2 * _RADIUS_PX + 1)
    for down, across in ((row, column) for row in steps for column in steps):
        other = around[down : down + height, across : across + width]
        apart = np.square(other - own).sum(axis=2, keepdims=True)
        away = (down - _RADIUS_PX) ** 2 + (across - _RADIUS_PX) ** 2
        weight = np.exp(-apart / np.float32(2 * _RANGE**2) - np.float32(away / (2 * _SPACE_PX**2)))
        total += weight * other
        weights += weight
    return (total / weights).round().astype(np.uint8)


def _tone_maps(luma: NDArray[np.uint8], clip: float, tiles: int) -> NDArray[np.float32]:
    """For each tile what each level becomes: [tiles, tiles, levels], 0..255."""
    rows, columns = (np.arange(side) * tiles // side for side in luma.shape)
    place = (rows[:, None] * tiles + columns[None, :]) * _LEVELS + luma
    counts = np.bincount(place.ravel(), minlength=tiles * tiles * _LEVELS).reshape(-1, _LEVELS).astype(np.float64)
    sizes = counts.sum(axis=1, keepdims=True)
    limit = clip * sizes / _LEVELS
    excess = np.maximum(counts - limit, 0.0).sum(axis=1, keepdims=True)
    shares = (np.minimum(counts, limit) + excess / _LEVELS) / sizes
    maps = shares.cumsum(axis=1) * (_LEVELS - 1)
    return np.asarray(maps, np.float32).reshape(tiles, tiles, _LEVELS)


def _between(side: int, tiles: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each pixel of a side the tiles whose middles it lies between, and how far it is on its way to the second."""
    at = (np.arange(side) + 0.5) * tiles / side - 0.5
    first = np.floor(at)
    return (
        first.clip(0, tiles - 1).astype(np.intp),
        (first + 1).clip(0, tiles - 1).astype(np.intp),
        (at - first).astype(np.float32),
    )
