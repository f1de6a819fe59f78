"""Photographs before sending, and heat maps after. Needs the `photos` extra (Pillow, numpy)."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from amulet_client.answers import HeatMap


def shrink(photo: bytes, longest_px: int = 1024) -> bytes:
    """The same photograph, upright, without metadata, its longer side at most `longest_px`; JPEG.

    One that is small enough already is returned as it is. Raises OSError when it cannot be read.
    """
    with Image.open(BytesIO(photo)) as image:
        if max(image.size) <= longest_px:
            return photo
        upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
        out = BytesIO()
        upright.save(out, "JPEG", quality=92)
        return out.getvalue()


def heat_map_png(heat_map: HeatMap, *, size_px: int = 448) -> bytes:
    """The raw grid as a grey picture [size_px, size_px]; white is where the class's evidence is strongest."""
    grid = np.array(heat_map.values, dtype=np.float64).reshape(heat_map.rows, heat_map.columns)
    top = grid.max()
    levels = np.rint(255.0 * grid / top if top > 0 else grid).astype(np.uint8)
    out = BytesIO()
    Image.fromarray(levels, "L").resize((size_px, size_px), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()
