"""Reliefs from signed distances: heights over a small canvas, built stroke by stroke.

A canvas is WIDTH_PX x HEIGHT_PX; its coordinates have the origin in the middle, x to the
right and y down, with half the width as the unit: x in [-1, 1], y in [-1.25, 1.25]. A
distance is negative inside a shape and positive outside, in the same unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Field = NDArray[np.floating[Any]]  # [HEIGHT_PX, WIDTH_PX]; float32 wherever speed counts

WIDTH_PX: Final = 288
HEIGHT_PX: Final = 360
UNIT_PX: Final = WIDTH_PX / 2

_y, _x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
X: Final[Field] = (_x + 0.5 - WIDTH_PX / 2) / UNIT_PX
Y: Final[Field] = (_y + 0.5 - HEIGHT_PX / 2) / UNIT_PX


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Field:
    """Distance to an ellipse: exact for circles, close to the outline otherwise."""
    scaled: Field = np.hypot((X - x) / radius_x, (Y - y) / radius_y)
    return (scaled - np.float32(1)) * np.float32(min(radius_x, radius_y))


def circle(x: float, y: float, radius: float) -> Field:
    return ellipse(x, y, radius, radius)


def box(x: float, y: float, half_width: float, half_height: float, *, corner: float = 0.0) -> Field:
    dx = np.abs(X - x) - (half_width - corner)
    dy = np.abs(Y - y) - (half_height - corner)
    outside: Field = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    inside: Field = np.minimum(np.maximum(dx, dy), 0)
    return outside + inside - np.float32(corner)


def limb(start: tuple[float, float], end: tuple[float, float], width: float, end_width: float | None = None) -> Field:
    """Distance to a stroke with round ends whose half width goes from `width` to `end_width`."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((X - x0) * dx + (Y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
    half: Field = width + ((width if end_width is None else end_width) - width) * along
    middle: Field = np.hypot(X - x0 - along * dx, Y - y0 - along * dy)
    return middle - half


def polygon(points: Sequence[tuple[float, float]]) -> Field:
    nearest = np.full_like(X, np.inf)
    inside = np.zeros(X.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        nearest = np.minimum(nearest, limb((x0, y0), (x1, y1), 0.0))
        if y0 != y1:
            crosses = (y0 > Y) != (y1 > Y)
            inside ^= crosses & ((X - x0) < (x1 - x0) * (Y - y0) / (y1 - y0))
    return np.where(inside, -nearest, nearest)


def ring(distance: Field, half_width: float) -> Field:
    """A band on both sides of an outline."""
    return np.abs(distance) - np.float32(half_width)


def union(*distances: Field) -> Field:
    nearest: Field = np.minimum.reduce(distances)
    return nearest


def both(*distances: Field) -> Field:
    furthest: Field = np.maximum.reduce(distances)
    return furthest


def melted(first: Field, second: Field, softness: float) -> Field:
    """A union whose seam is filled, as clay fills it."""
    blend = np.maximum(softness - np.abs(first - second), 0) / softness
    melt: Field = np.minimum(first, second) - blend * blend * np.float32(softness / 4)
    return melt


def domed(distance: Field, bevel: float) -> Field:
    """0 outside, rising over `bevel` inside the outline to 1, as a pressed form rises."""
    depth = np.clip(-distance / bevel, 0, 1)
    height: Field = np.sqrt(depth * (2 - depth))
    return height


def highest(heights: Sequence[Field]) -> Field:
    """Reliefs laid over one another: at each point the tallest."""
    tallest: Field = np.maximum.reduce(heights)
    return tallest


def text(words: str, *, x: float, y: float, size: float) -> Field:
    """0 to 1 where a line of writing stands; `size` is the letters' height."""
    canvas = Image.new("L", (WIDTH_PX, HEIGHT_PX))
    font = ImageFont.load_default(max(8, round(size * UNIT_PX)))
    place = (x * UNIT_PX + WIDTH_PX / 2, y * UNIT_PX + HEIGHT_PX / 2)
    ImageDraw.Draw(canvas).text(place, words, fill=255, font=font, anchor="mm")
    return np.asarray(canvas, dtype=np.float32) / np.float32(255)


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: int, *, octaves: int = 1) -> Field:
    """Smooth noise of about unit variance: `cells` blotches along the height, finer and fainter by octave."""
    height, width = shape
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        rows = max(2, min(height, cells << octave))
        columns = max(2, min(width, round(rows * width / height)))
        coarse = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) * np.float32(0.55**octave)
    return total * np.float32(1.3)
