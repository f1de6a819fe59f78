"""What was seen of a photograph is found again by its content, whole or not at all, and goes with the photograph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.data.cast import write_folder
from tests.unit.training.fitting.cast import SIDE_PX, colour_graph
from training.data.errors import DataChanged
from training.data.folder import Photo, load_folder
from training.fitting.features import Eye
from training.fitting.kept_features import KEYS_MAX, Shelf, key_of
from training.fitting.recipe import recipe_of, with_settings
from training.pipeline import Request, shelf_of

RECIPE = with_settings(recipe_of("standard"), {"levels": ["head"], "input_px": SIDE_PX})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data", {"apple": 4, "berry": 4})


@pytest.fixture
def shelf(tmp_path: Path, data: Path) -> Shelf:
    return Shelf(tmp_path / "state" / "features", data)


def files(tmp_path: Path) -> list[Path]:
    return sorted(file for file in (tmp_path / "state").rglob("*") if file.is_file())


def eye() -> Eye:
    return Eye(colour_graph(), RECIPE, threads=2)


def photos_of(data: Path) -> tuple[Photo, ...]:
    return load_folder(data).photos


def test_what_was_seen_is_not_looked_at_again(tmp_path: Path, data: Path, shelf: Shelf) -> None:
    photos = photos_of(data)
    first = eye().features(photos, seed=3, views=2, shelf=shelf)
    for photo in photos:
        photo.path.unlink()

    again = eye().features(photos, seed=3, views=2, shelf=shelf)

    assert np.array_equal(again.plain, first.plain)
    assert np.array_equal(again.views, first.views)
    assert len(files(tmp_path)) == len(photos)
    with pytest.raises(DataChanged):  # another seed draws other views
        eye().features(photos, seed=4, views=2, shelf=shelf)


def test_one_that_was_cut_off_or_is_of_another_size_is_looked_at_again(
    tmp_path: Path, data: Path, shelf: Shelf
) -> None:
    photos = photos_of(data)
    first = eye().features(photos, seed=0, views=1, shelf=shelf)
    cut, swapped, *_ = files(tmp_path)
    whole = cut.read_bytes(), swapped.read_bytes()
    cut.write_bytes(whole[0][:-1])
    row = shelf.row(swapped.parent.name)
    row.put(next(photo for photo in photos if photo.sha256 == swapped.name), np.zeros((5, 5), np.float32))

    again = eye().features(photos, seed=0, views=1, shelf=shelf)

    assert np.array_equal(again.views, first.views)
    assert (cut.read_bytes(), swapped.read_bytes()) == whole


def test_a_photograph_that_is_gone_leaves_nothing_behind(tmp_path: Path, data: Path, shelf: Shelf) -> None:
    photos = photos_of(data)
    for seed in (0, 1):
        eye().features(photos, seed=seed, views=1, shelf=shelf)
    gone, left = photos[0], photos[1:]

    shelf.tidy({photo.sha256 for photo in left})

    names = [file.name for file in files(tmp_path)]
    assert gone.sha256 not in names
    assert sorted(names) == sorted(2 * [photo.sha256 for photo in left])


def test_only_the_latest_ways_of_looking_are_kept(tmp_path: Path, data: Path, shelf: Shelf) -> None:
    photos = photos_of(data)[:1]
    for seed in range(KEYS_MAX + 2):
        eye().features(photos, seed=seed, views=1, shelf=shelf)
    eye().features(photos, seed=0, views=1, shelf=shelf)  # found, and the latest by that

    shelf.tidy({photos[0].sha256})

    ways = {file.parent.name for file in files(tmp_path)}
    wanted = [0, *range(3, KEYS_MAX + 2)]
    assert ways == {key_of(colour_graph(), RECIPE, seed=seed, views=1) for seed in wanted}


def test_another_graph_size_or_kind_of_view_has_another_name() -> None:
    graph = colour_graph()
    other = replace(RECIPE, strength=replace(RECIPE.strength, backdrop_ratio=0.25))
    keys = {
        key_of(graph, RECIPE, seed=0, views=1),
        key_of(graph, RECIPE, seed=0, views=2),
        key_of(graph, other, seed=0, views=1),
        key_of(graph, replace(RECIPE, input_px=2 * SIDE_PX), seed=0, views=1),
        key_of(graph + b" ", RECIPE, seed=0, views=1),
    }
    assert len(keys) == 5
    # What no view is drawn by decides nothing where there is none.
    assert key_of(graph, RECIPE, seed=0, views=0) == key_of(graph, other, seed=1, views=0)


def test_a_place_that_keeps_nothing_stops_no_training(tmp_path: Path, data: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    shelf = Shelf(tmp_path / "file", data)
    photos = photos_of(data)

    found = eye().features(photos, seed=0, views=1, shelf=shelf)
    shelf.tidy(set())

    assert np.array_equal(found.plain, eye().features(photos, seed=0, views=1).plain)


def test_of_photographs_that_people_may_take_back_nothing_is_kept(tmp_path: Path, data: Path) -> None:
    """An export is deleted after a training, and no erasure would find its shelf."""
    request = Request(data, tmp_path / "run", RECIPE, features=tmp_path / "features")
    beside = write_folder(tmp_path / "other", {"coin": 2}) / "coin"
    assert shelf_of(request) is not None
    assert shelf_of(replace(request, outside=(beside,))) is not None
    assert shelf_of(replace(request, features=None)) is None
    assert shelf_of(replace(request, recipe=recipe_of("finetuned"))) is None

    (tmp_path / "other" / "manifest.json").write_text('{"form": "amulet labels 1", "photographs": []}')
    assert shelf_of(replace(request, outside=(beside,))) is None
    (data / "manifest.json").write_text('{"form": "amulet labels 1", "photographs": []}')
    assert shelf_of(request) is None
