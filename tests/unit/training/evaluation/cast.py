"""Photographs of three colours, some of them hard, and the tiny model that tells colours apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests import tiny_archive
from tests.tiny_archive import CLASSES, SIDE_PX, photo_of


@dataclass(frozen=True, slots=True)
class Colours:
    """Where everything lies."""

    run: Path  # model.onnx, model.json and what belongs to them
    data: Path  # CLASSES as folders
    grey: Path  # photographs of none of them


def write_colours(root: Path, *, per_class: int = 6) -> Colours:
    """`per_class` photographs a class, half of them backs; one green photograph lies among the blue ones."""
    tiny_archive.write_run(root / "run")
    for number, colour in enumerate(CLASSES):
        folder = root / "data" / colour
        folder.mkdir(parents=True)
        for index in range(per_class):
            side = "front" if index % 2 == 0 else "back"
            (folder / f"{side}_{index:03}.png").write_bytes(photo_of(colour, seed=100 * number + index))
    (root / "data/blue/back_999.png").write_bytes(photo_of("green", seed=77))
    grey = root / "grey"
    grey.mkdir()
    for index in range(4):
        (grey / f"{index}.png").write_bytes(photo_of("grey", seed=index))
    return Colours(root / "run", root / "data", grey)


def write_dark(path: Path, colour: str) -> None:
    """A photograph that is nearly black: its colour is there, the light is not."""
    pixels = np.full((SIDE_PX, SIDE_PX, 3), 4, np.uint8)
    pixels[..., CLASSES.index(colour)] = 12
    Image.fromarray(pixels, "RGB").save(path)
