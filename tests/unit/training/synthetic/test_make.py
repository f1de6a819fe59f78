"""Made photographs: of their class, from their origin, the same again, and all or none on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.data.cast import picture, write_folder
from training.data.errors import DataWrong
from training.data.folder import Folder, load_folder
from training.demo.photographs import OutNotEmpty, write_demo
from training.errors import SettingWrong
from training.synthetic.make import ORIGINS, composite, make, origins_of, relit


def on_a_table(root: Path) -> Folder:
    """Two classes of objects in the middle of a red table."""
    for label in ("apple", "berry"):
        (root / label).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((96, 96, 3), (180, 40, 40), np.uint8)
            pixels[24:72, 24:72] = np.asarray(picture(len(label) * 100 + number, width=48, height=48)) // 2 + 100
            Image.fromarray(pixels).save(root / label / f"front_{number:03}.png")
    return load_folder(root)


def test_every_one_has_an_origin_of_its_own_class_and_a_second_making_gives_the_same(tmp_path: Path) -> None:
    folder = on_a_table(tmp_path / "data")
    made = make(folder, tmp_path / "made", per_photo=2)
    assert made.per_class == {"apple": 12, "berry": 12}
    origins = origins_of(made.path)
    assert origins is not None
    scanned = load_folder(made.path)
    assert {photo.relative for photo in scanned.photos} == set(origins)
    assert {photo.side_name for photo in scanned.photos} == {"front"}
    for relative, origin in origins.items():
        assert origin in {photo.relative for photo in folder.photos}
        assert Path(relative).parent == Path(str(origin)).parent
    again = make(folder, tmp_path / "again", per_photo=2)
    assert load_folder(again.path).fingerprint == scanned.fingerprint
    other = make(folder, tmp_path / "other", per_photo=2, seed=1)
    assert load_folder(other.path).fingerprint != scanned.fingerprint


def test_two_real_files_of_one_stem_have_synthetic_ones_of_their_own(tmp_path: Path) -> None:
    on_a_table(tmp_path / "data")
    for name in ("front_000.jpg", "front_000.png.jpg"):
        picture(len(name)).save(tmp_path / "data/apple" / name)
    folder = load_folder(tmp_path / "data")
    made = make(folder, tmp_path / "made", kinds=("relit",))
    assert made.photos == len(folder.photos) == 8
    assert len(load_folder(made.path).photos) == 8
    origins = origins_of(made.path) or {}
    assert set(origins.values()) == {photo.relative for photo in folder.photos}
    assert origins["apple/front_000.png-relit-1.jpg"] == "apple/front_000.png"
    assert origins["berry/front_000-relit-1.jpg"] == "berry/front_000.png"


def test_origins_are_found_however_names_are_spelt(tmp_path: Path) -> None:
    on_a_table(tmp_path / "data")
    (tmp_path / "data/apple").rename(tmp_path / "data/cafe\u0301")
    folder = load_folder(tmp_path / "data")
    made = make(folder, tmp_path / "made", kinds=("relit",))
    origins = (made.path / ORIGINS).read_text("utf-8")
    (made.path / ORIGINS).write_text(origins.replace("caf\u00e9", "cafe\u0301"), "utf-8")

    found = origins_of(made.path) or {}

    assert set(found) == {photo.relative for photo in load_folder(made.path).photos}
    assert set(found.values()) == {photo.relative for photo in folder.photos}


def test_a_composite_keeps_the_object_and_loses_the_table() -> None:
    pixels = np.full((128, 128, 3), (180, 40, 40), np.uint8)
    pixels[34:94, 34:94] = (30, 200, 60)
    redder = []
    for seed in range(12):
        placed = composite(pixels, np.random.default_rng(seed))
        assert placed is not None
        green = (placed[..., 1] > placed[..., 0] + 20.0) & (placed[..., 1] > placed[..., 2] + 20.0)
        assert green.mean() > 0.04
        redder.append(np.abs(placed[:4].astype(float) - (180, 40, 40)).max(axis=2).min() < 12.0)
    assert np.mean(redder) < 0.2
    nothing_on_it = np.full((128, 128, 3), 90, np.uint8)
    assert composite(nothing_on_it, np.random.default_rng(0)) is None


def test_another_light_changes_brightness_and_leaves_the_place_of_edges() -> None:
    pixels = np.full((96, 96, 3), 90, np.uint8)
    pixels[30:60, 30:60] = 170
    lit = relit(pixels, np.random.default_rng(3))
    assert np.abs(lit.astype(int) - pixels).mean() > 4.0
    edge = np.abs(np.diff(lit[45, :, 0].astype(int)))
    assert set(np.argsort(edge)[-2:]) <= {28, 29, 30, 58, 59, 60}


def test_what_cannot_be_cut_out_is_named_and_relit_all_the_same(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"apple": 2, "berry": 2})
    made = make(load_folder(tmp_path / "data"), tmp_path / "made")
    assert len(made.no_backdrop) + sum(made.per_class.values()) - 4 == 4


def test_the_renderer_draws_the_classes_that_it_knows_and_names_the_first_that_it_does_not(tmp_path: Path) -> None:
    write_demo(tmp_path / "demo", seed=3, per_class=2, processes=1)
    made = make(load_folder(tmp_path / "demo"), tmp_path / "made", kinds=("drawn",))
    assert set(made.per_class.values()) == {2}
    assert set((origins_of(made.path) or {}).values()) == {None}
    with pytest.raises(SettingWrong, match="the renderer does not know apple"):
        make(on_a_table(tmp_path / "data"), tmp_path / "none", kinds=("drawn",))
    assert not (tmp_path / "none").exists()


def test_nothing_is_written_over_and_nothing_half(tmp_path: Path) -> None:
    folder = on_a_table(tmp_path / "data")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x.txt").write_text("mine")
    with pytest.raises(OutNotEmpty):
        make(folder, tmp_path / "full")

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        make(folder, tmp_path / "made", progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "full"]


def test_origins_may_be_missing_but_not_wrong(tmp_path: Path) -> None:
    assert origins_of(tmp_path) is None
    for text in ("{", "[]", json.dumps({"origins": 3})):
        (tmp_path / ORIGINS).write_text(text)
        with pytest.raises(DataWrong, match="does not say what photographs are made from"):
            origins_of(tmp_path)
