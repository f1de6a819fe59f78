"""Another table under the object: finds a flat backdrop and paints a different one.

Photographs of one collection tend to share one backdrop, and a model then learns the
backdrop. Where the border of a photograph is of nearly one colour, everything of that
colour that touches the border is backdrop; where it is not, the photograph stays as it is.
"""

from __future__ import annotations

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
    labels, _count = ndimage.label(near)
    touching = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    found = np.isin(labels, touching[touching > 0])
    found = ndimage.binary_dilation(found, iterations=_EDGE_GROWN_PX)
    return found if _SHARE_MIN < found.mean() < _SHARE_MAX else None


def replaced(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The object on another backdrop; the same pixels where no flat backdrop is found."""
    backdrop = mask(pixels)
    if backdrop is None:
        return pixels
    share = ndimage.gaussian_filter(backdrop.astype(np.float32), _EDGE_SOFT_PX)[..., None]
    height, width, _ = pixels.shape
    painted = pixels * (1.0 - share) + drawn(height, width, rng) * share
    return np.asarray(painted.clip(0.0, 255.0), dtype=np.uint8)


def drawn(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A backdrop, float32 [H, W, 3] in 0..255: plain, shaded, mottled, striped or grainy."""
    if rng.random() < _GREY_RATIO:
        colour = np.repeat(rng.uniform(0.0, 255.0), 3) + rng.normal(0.0, 10.0, 3)
    else:
        colour = rng.uniform(0.0, 255.0, 3)
    kind = rng.integers(5)
    y, x = np.mgrid[:height, :width]
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
