"""Features: of the content and the seed alone, in any order, any batch and any number of threads."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handlers.amulet_handler import pixels_of
from tests.unit.training.data.cast import write_folder
from tests.unit.training.fitting.cast import CHANNELS, SIDE_PX, colour_graph
from training.data.errors import DataChanged, PhotoBroken
from training.data.folder import Photo, load_folder
from training.fitting.features import Eye, Features
from training.fitting.recipe import recipe_of, with_settings

RECIPE = with_settings(recipe_of("standard"), {"levels": ["head"], "input_px": SIDE_PX})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Photo, ...]:
    return load_folder(write_folder(tmp_path_factory.mktemp("folder") / "data", {"apple": 12, "berry": 9})).photos


def eye(*, threads: int = 1) -> Eye:
    return Eye(colour_graph(), RECIPE, threads=threads)


def test_an_embedding_is_what_the_graph_says_at_length_one(photos: tuple[Photo, ...]) -> None:
    found = eye().features(photos, seed=0, views=0)
    assert found.plain.shape == (21, CHANNELS)
    assert found.views.shape == (21, 0, CHANNELS)
    pixels = pixels_of(photos[3].path.read_bytes(), SIDE_PX, SIDE_PX).astype(np.float64) / 255
    fields = pixels.reshape(4, 8, 4, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1).ravel()
    assert found.plain[3] == pytest.approx(fields / np.linalg.norm(fields), abs=1e-5)


def test_order_company_and_threads_change_nothing(photos: tuple[Photo, ...]) -> None:
    there = eye().features(photos, seed=4, views=3)
    order = np.random.default_rng(0).permutation(len(photos))
    back = eye(threads=2).features([photos[row] for row in order], seed=4, views=3)
    assert back.plain == pytest.approx(there.plain[order], abs=1e-6)
    assert back.views == pytest.approx(there.views[order], abs=1e-6)
    alone = eye().features(photos[5:6], seed=4, views=3)
    assert alone.views[0] == pytest.approx(there.views[5], abs=1e-6)


def test_another_seed_draws_other_views_and_leaves_the_photographs(photos: tuple[Photo, ...]) -> None:
    one, other = (eye().features(photos[:4], seed=seed, views=2) for seed in (1, 2))
    assert np.array_equal(one.plain, other.plain)
    assert np.abs(one.views - other.views).max() > 1e-3
    assert np.abs(one.views[:, 0] - one.views[:, 1]).max() > 1e-3


def test_a_copy_under_another_name_has_the_same_views(photos: tuple[Photo, ...], tmp_path: Path) -> None:
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        shutil.copy(photos[0].path, tmp_path / label / f"{label}.jpg")
    told: list[tuple[int, int]] = []
    copies = load_folder(tmp_path).photos
    found = eye().features(copies, seed=0, views=2, progress=lambda *at: told.append(at))
    assert np.array_equal(found.views[0], found.views[1])
    assert told[-1] == (3, 3)  # computed once: the photograph and two views


def test_rows_say_whose_they_are(photos: tuple[Photo, ...]) -> None:
    found = eye().features(photos[:5], seed=0, views=2)
    rows, photo_of_row = found.flat()
    assert rows.shape == (15, CHANNELS)
    for row, photo in zip(rows[5:], photo_of_row[5:], strict=True):
        assert any(np.array_equal(row, view) for view in found.views[photo])
    taken = found.take([4, 0])
    assert isinstance(taken, Features)
    assert np.array_equal(taken.plain, found.plain[[4, 0]])
    assert np.array_equal(taken.views, found.views[[4, 0]])


def test_a_file_that_a_server_would_refuse_is_not_learnt_from(photos: tuple[Photo, ...]) -> None:
    content = b"no photograph"
    photos[-1].path.write_bytes(content)
    known = replace(photos[-1], sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(PhotoBroken, match="is refused"):
        eye().features([known], seed=0, views=0)


def test_a_photograph_that_changed_after_the_folder_was_read_ends_the_work(photos: tuple[Photo, ...]) -> None:
    shutil.copyfile(photos[1].path, photos[0].path)
    with pytest.raises(DataChanged, match="changed after the folder was read: start again"):
        eye().features(photos[:1], seed=0, views=0)
    photos[0].path.unlink()
    with pytest.raises(DataChanged, match="can no longer be read"):
        eye().features(photos[:1], seed=0, views=0)
