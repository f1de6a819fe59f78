"""What an object stands on, by its colour; figures for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.unit.training.data.cast import picture
from training.data.folder import read_photo
from training.evaluation.tables import NO_FLAT, named, tables


def on(table: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (160, 120), table)
    ImageDraw.Draw(image).rectangle((40, 30, 120, 90), fill=tuple(255 - value for value in table))
    return image


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ((210, 15, 25), "red"),
        ((200, 20, 60), "red"),
        ((220, 200, 30), "yellow"),
        ((30, 160, 50), "green"),
        ((20, 180, 180), "cyan"),
        ((30, 50, 200), "blue"),
        ((190, 30, 190), "magenta"),
        ((10, 8, 12), "black"),
        ((20, 5, 5), "black"),
        ((60, 62, 58), "black"),
        ((190, 180, 176), "grey"),
        ((240, 238, 244), "white"),
    ],
)
def test_a_flat_table_is_named_by_its_colour(table: tuple[int, int, int], name: str) -> None:
    assert named(np.asarray(on(table))) == name


def test_where_the_border_is_of_many_colours_no_table_is_claimed() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    assert named(noise) == NO_FLAT


def test_photographs_are_read_as_people_see_them_and_in_their_order(tmp_path: Path) -> None:
    wide = on((30, 50, 200)).resize((1600, 1200))
    wide.save(tmp_path / "blue.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    on((210, 15, 25)).save(tmp_path / "red.png")
    picture(4).save(tmp_path / "other.jpg")
    photos = [read_photo(tmp_path / name, relative=f"a/{name}", label="a") for name in ("red.png", "blue.jpg")]
    assert tables(photos) == ("red", "blue")
    assert tables(photos[::-1]) == ("blue", "red")
