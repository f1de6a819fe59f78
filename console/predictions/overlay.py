"""A heat map as a picture that lies over the photograph: transparent where the model did not look."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX: Final = 448
OPACITY_MAX: Final = 235  # of 255: even at full strength the relief stays visible under it
# From dark violet over red to pale yellow; lightness only grows, so that it reads in grey and to colour-blind eyes.
_STOPS: Final = np.array([(40, 11, 84), (120, 28, 109), (190, 55, 82), (237, 105, 37), (252, 180, 42), (252, 255, 164)])


def heat_map_png(content: bytes) -> bytes:
    """PNG with transparency, SIDE_PX square, of a heat map as the vault keeps it.

    content: rows and columns (2 bytes each, little-endian), then uint8 [rows, columns].
    Raises ValueError when it is none.
    """
    rows, columns = int.from_bytes(content[:2], "little"), int.from_bytes(content[2:4], "little")
    grid = np.frombuffer(content[4:], dtype=np.uint8)
    if not rows or not columns or grid.size != rows * columns:
        raise ValueError("this is no heat map")
    return picture_of(grid.reshape(rows, columns))


def picture_of(grid: NDArray[np.uint8]) -> bytes:
    """The same of a grid [rows, columns]; 255 is the strongest evidence."""
    small = Image.fromarray(grid)
    warmth = np.asarray(small.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    places = np.linspace(0, 1, len(_STOPS))
    colours = [np.interp(warmth, places, _STOPS[:, channel]) for channel in range(3)]
    picture = np.stack([*colours, warmth * OPACITY_MAX], axis=-1).round().astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(picture, mode="RGBA").save(out, format="PNG", compress_level=3)
    return out.getvalue()
