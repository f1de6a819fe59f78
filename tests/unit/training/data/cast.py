"""Photographs that the data tests share: made here, small, and each unlike the others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from protos.amulet.v1 import vocabulary_pb2 as words
from training.data.folder import LOOK_PX, Photo


def picture(seed: int, *, width: int = 96, height: int = 128) -> Image.Image:
    """Smooth coloured blotches: as unlike another seed's as two photographs of different things."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def write_class(root: Path, label: str, count: int, *, first_seed: int) -> None:
    (root / label).mkdir(parents=True)
    for number in range(count):
        side = "front" if number % 2 == 0 else "back"
        picture(first_seed + number).save(root / label / f"{side}_{number:03}.jpg", quality=90)


def write_folder(root: Path, counts: dict[str, int]) -> Path:
    """A data set with so many photographs a class, none a copy of another."""
    for index, (label, count) in enumerate(counts.items()):
        write_class(root, label, count, first_seed=1000 * (index + 1))
    return root


def photo(label: str, number: int, *, look_seed: int, side: words.Side.ValueType = words.SIDE_FRONT) -> Photo:
    """A photograph that is on no disk; the same `look_seed` makes copies of one photograph."""
    look = picture(look_seed, width=LOOK_PX, height=LOOK_PX).convert("L")
    return Photo(
        path=Path(label, f"{number:05}.jpg"),
        relative=f"{label}/{number:05}.jpg",
        label=label,
        side=side,
        sha256=f"{hash((label, number)) & (2**256 - 1):064x}",
        width_px=96,
        height_px=128,
        look=look.tobytes(),
    )


def copy_of(image: Image.Image, relative: str) -> Photo:
    """A photograph of that content, as reading its file would give it."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = (left, top, left + side, top + side)
    look = image.convert("L").resize((LOOK_PX, LOOK_PX), Image.Resampling.BOX, box=square)
    return Photo(
        path=Path(relative),
        relative=relative,
        label=Path(relative).parent.name,
        side=words.SIDE_UNSPECIFIED,
        sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        width_px=image.width,
        height_px=image.height,
        look=look.tobytes(),
    )
