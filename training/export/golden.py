"""The photographs whose answers a version is known by.

They stay in its archive for as long as there is one, and go to every gateway: a photograph that somebody may take back
must not be among them. All that they are for is to tell these weights from others, which a drawn tablet does as well.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handlers.amulet_handler import pixels_of
from training.data.folder import Photo
from training.demo.moulds import DESIGNS
from training.demo.photographs import draw

GOLDEN_MAX: Final = 6
_SEED: Final = 170  # the same pieces for every version, and no demonstration set is drawn from it by default


def golden_photos(held_out: Sequence[Photo]) -> tuple[Photo, ...]:
    """Up to six photographs that nothing was fitted on, of as many classes as possible."""
    by_class: dict[str, list[Photo]] = {}
    for photo in sorted(held_out, key=lambda photo: photo.relative):
        by_class.setdefault(photo.label, []).append(photo)
    rounds = max(map(len, by_class.values()))
    dealt = [photos[turn] for turn in range(rounds) for photos in by_class.values() if turn < len(photos)]
    return tuple(dealt[:GOLDEN_MAX])


def drawn_photos(side_px: int) -> list[NDArray[np.uint8]]:
    """Six tablets of the demonstration's moulds, which nobody owns, at the model's size: uint8 [side, side, 3]."""
    return [_drawn(f"{label}/front_001.jpg", side_px) for label in islice(DESIGNS, GOLDEN_MAX)]


def _drawn(name: str, side_px: int) -> NDArray[np.uint8]:
    content = io.BytesIO()
    draw(name, _SEED).save(content, "PNG")
    return pixels_of(content.getvalue(), side_px, side_px)
