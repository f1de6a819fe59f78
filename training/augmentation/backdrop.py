"""Another table under the object: finds a flat backdrop and paints a different one.

Photographs of one collection tend to share one backdrop, and a model then learns the
backdrop. Where the border of a photograph is of nearly one colour, everything of that
colour that touches the border is backdrop; where it is not, the photograph stays as it is.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

_BORDER_PX: Final = 3
# Of 255, largest channel: wide enough for JPEG noise and vignettes, below most objects' contrast to the table.
_NEAR_COLOUR: Final = 48.0
# Below, it is hardly visible; above, what is left is hardly an object: probably the mask is wrong.
_SHARE_MIN: Final = 0.05
_SHARE_MAX: Final = 0.85
_EDGE_GROWN_PX: Final = 2  # anti-aliased edges carry the old colour
_EDGE_SOFT_PX: Final = 1.0
_GREY_RATIO: Final = 0.4  # tables and paper are grey more often than coloured


def mask(pixels: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Where the backdrop is, bool [H, W]; None where no flat backdrop is found."""
    width = _BORDER_PX
    strips = (pixels[:width], pixels[-width:], pixels[:, :width], pixels[:, -width:])
    border = np.concatenate([strip.reshape(-1, 3) for strip in strips])
    colour = np.median(border, axis=0)
    near = np.abs(pixels.astype(np.float32) - colour.astype(np.float32)).max(axis=2) < _NEAR_COLOUR
    labels, count = ndimage.label(near)
    touching = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    is_table = np.zeros(count + 1, bool)
    is_table[touching[touching > 0]] = True
    found = is_table[labels]
    found = ndimage.binary_dilation(found, iterations=_EDGE_GROWN_PX)
    return found if _SHARE_MIN < found.mean() < _SHARE_MAX else None


class Scene:
    """A photograph whose backdrop is looked for once, however often it is replaced."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    @cached_property
    def _share(self) -> NDArray[np.float32] | None:
        """How much of each pixel is backdrop, [H, W, 1]; None where no flat backdrop is found."""
        found = mask(self.pixels)
        if found is None:
            return None
        return np.asarray(ndimage.gaussian_filter(found.astype(np.float32), _EDGE_SOFT_PX)[..., None])

    def on_another(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The object on another backdrop; the same pixels, and nothing drawn, where no flat one is found."""
        share = self._share
        if share is None:
            return self.pixels
        height, width, _ = self.pixels.shape
        painted = self.pixels * (1.0 - share) + drawn(height, width, rng) * share
        return np.asarray(painted.clip(0.0, 255.0), dtype=np.uint8)


def replaced(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The object on another backdrop; the same pixels where no flat backdrop is found."""
    return Scene(pixels).on_another(rng)


def drawn(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A backdrop, float32 [H, W, 3] in 0..255: plain, shaded, mottled, striped or grainy."""
    if rng.random() < _GREY_RATIO:
        colour = np.repeat(rng.uniform(0.0, 255.0), 3) + rng.normal(0.0, 10.0, 3)
    else:
        colour = rng.uniform(0.0, 255.0, 3)
    kind = rng.integers(5)
    y, x = np.ogrid[:height, :width]
    if kind == 0:
        surface = np.broadcast_to(colour, (height, width, 3))
    elif kind == 1:
        angle = rng.uniform(0.0, 2.0 * np.pi)
        slope = np.cos(angle) * x / width + np.sin(angle) * y / height
        slope = (slope - slope.min()) / max(float(np.ptp(slope)), 1e-6)
        surface = colour + slope[..., None] * rng.normal(0.0, 60.0, 3)
    elif kind == 2:
        cells = int(rng.integers(2, 40))
        spots = rng.normal(0.0, 1.0, (cells, cells)).astype(np.float32)
        mottled = np.asarray(Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC))
        surface = colour + mottled[..., None] * rng.uniform(5.0, 50.0, 3)
    elif kind == 3:
        angle = rng.uniform(0.0, np.pi)
        along = (np.cos(angle) * x + np.sin(angle) * y) * rng.uniform(0.02, 0.4)
        ragged = rng.normal(0.0, rng.uniform(0.0, 0.6), (height, width))
        surface = colour + np.sin(along + ragged)[..., None] * rng.uniform(5.0, 40.0)
    else:
        surface = colour + rng.normal(0.0, rng.uniform(5.0, 40.0), (height, width, 1))
    return np.asarray(surface.clip(0.0, 255.0), dtype=np.float32)
