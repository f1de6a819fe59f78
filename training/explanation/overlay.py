"""A heat map drawn over what the model saw."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX: Final = 448
# From no evidence to the strongest, dark to bright, so that it reads without colour too.
_SCALE: Final = ((0.0, (20, 11, 52)), (0.35, (120, 28, 109)), (0.65, (229, 92, 48)), (1.0, (252, 225, 120)))
_STRENGTH: Final = 0.62  # how much of the photograph the strongest evidence covers


def overlay_png(pixels: NDArray[np.uint8], grid: NDArray[np.floating]) -> bytes:
    """`overlaid` as a PNG of SIDE_PX a side."""
    out = BytesIO()
    overlaid(pixels, grid, side_px=SIDE_PX).save(out, "PNG", compress_level=3)
    return out.getvalue()


def overlaid(pixels: NDArray[np.uint8], grid: NDArray[np.floating], *, side_px: int) -> Image.Image:
    """The photograph, and over it where it speaks for the class.

    pixels: uint8 [H, W, 3].  grid: [rows, columns], at least 0; only its shape counts, not its
    height. A grid without evidence leaves the photograph as it is.
    """
    evidence = _smooth(grid, float(grid.max()), side_px)
    stops, colours = [stop for stop, _ in _SCALE], np.array([colour for _, colour in _SCALE], dtype=np.float64)
    heat = np.stack([np.interp(evidence, stops, colours[:, channel]) for channel in range(3)], axis=-1)
    return _mixed(_resized(pixels, side_px), heat, evidence)


def blended(
    pixels: NDArray[np.uint8], layers: Sequence[tuple[NDArray[np.floating], tuple[int, int, int]]], *, side_px: int
) -> Image.Image:
    """The photograph, and over it several grids, each in a colour of its own and all on one scale."""
    top = max(float(grid.max()) for grid, _ in layers)
    shown = _resized(pixels, side_px)
    for grid, colour in layers:
        shown = _mixed(shown, np.array(colour, dtype=np.float64), _smooth(grid, top, side_px))
    return shown


def _resized(pixels: NDArray[np.uint8], side_px: int) -> Image.Image:
    return Image.fromarray(pixels, "RGB").resize((side_px, side_px), Image.Resampling.BILINEAR)


def _smooth(grid: NDArray[np.floating], top: float, side_px: int) -> NDArray[np.float64]:
    """The grid as a picture of values from 0 to 1, where 1 is `top`."""
    levels = np.rint(255.0 * grid / top if top > 0 else np.zeros_like(grid)).astype(np.uint8)
    smooth = Image.fromarray(levels, "L").resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float64) / 255.0


def _mixed(photo: Image.Image, colours: NDArray[np.float64], evidence: NDArray[np.float64]) -> Image.Image:
    share = (_STRENGTH * np.sqrt(evidence))[..., None]
    mixed = np.asarray(photo, dtype=np.float64) * (1 - share) + colours * share
    return Image.fromarray(np.rint(mixed).astype(np.uint8), "RGB")
