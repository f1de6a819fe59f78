"""Photographs as `data:` URLs, so that a page needs no file beside it."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHOWN_PX: Final = 160
_JPEG_QUALITY: Final = 78


def photograph(pixels: NDArray[np.uint8]) -> str:
    """pixels: uint8 [H, W, 3]; shown as a square of SHOWN_PX."""
    return encoded(Image.fromarray(pixels).resize((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS))


def encoded(image: Image.Image) -> str:
    """The picture as it is."""
    content = BytesIO()
    image.save(content, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
