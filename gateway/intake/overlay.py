"""A heat map laid over the photograph as the model saw it."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Anchors of a dark-to-light ramp (black, purple, orange, pale yellow) whose lightness rises
# evenly, so that it reads in grey and to colour-blind eyes as well.
_ANCHORS: Final = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)
_OPACITY: Final = 0.6  # of the hottest place; cold places stay as photographed


def overlay_png(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> bytes:
    """pixels: uint8 [height, width, 3].  heat: float32 [rows, columns], at least 0.

    The map is scaled to its own maximum and enlarged bilinearly, as Grad-CAM is drawn in
    Selvaraju et al. 2017, section 3.
    """
    height_px, width_px = pixels.shape[:2]
    peak = float(heat.max(initial=0.0))
    scaled = Image.fromarray((heat / peak if peak > 0 else np.zeros_like(heat)).astype(np.float32))
    warmth = np.asarray(scaled.resize((width_px, height_px), Image.Resampling.BILINEAR), dtype=np.float64).clip(0, 1)
    colours = np.stack(
        [np.interp(warmth, np.linspace(0, 1, len(_ANCHORS)), _ANCHORS[:, channel]) for channel in range(3)], axis=-1
    )
    opacity = (_OPACITY * warmth)[..., np.newaxis]
    blended = pixels * (1 - opacity) + colours * opacity
    file = io.BytesIO()
    Image.fromarray(blended.round().astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()
