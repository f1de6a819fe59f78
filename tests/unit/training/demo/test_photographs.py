"""The demonstration set: complete or absent, the same for the same seed, readable as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.folder import load_folder, load_outside
from training.demo import photographs
from training.demo.moulds import DESIGNS
from training.demo.photographs import OutNotEmpty, showcase, write_demo


def test_the_set_is_read_as_classes_with_names_and_sides_and_sets_of_other_things(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    written = write_demo(tmp_path / "demo", seed=3, per_class=2, processes=1, progress=lambda *at: told.append(at))

    folder = load_folder(tmp_path / "demo")
    assert folder.classes == tuple(sorted(DESIGNS))
    assert folder.per_class == written.per_class == dict.fromkeys(sorted(DESIGNS), 2)
    assert folder.names["wheel_of_law"].names == {"en": "Wheel of the law", "th": "พิมพ์ธรรมจักร"}
    assert folder.names["wheel_of_law"].ancestors == ("emblem",)
    assert {photo.side_name for photo in folder.photos} == {"front", "back"}
    outside = load_outside(tmp_path / "demo/ood")
    assert {name: len(photos) for name, photos in outside.items()} == written.outside == {"coins": 2, "objects": 2}
    assert told == [(done, 20) for done in range(1, 21)]
    assert written.photos == 20


def test_more_photographs_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    write_demo(tmp_path / "few", seed=3, per_class=2, processes=1)
    write_demo(tmp_path / "many", seed=3, per_class=5, processes=2)
    for name in ("bodhi_leaf/front_001.jpg", "ood/coins/002.jpg", "ood/objects/button_001.jpg"):
        assert (tmp_path / "few" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_another_seed_draws_other_photographs(tmp_path: Path) -> None:
    one, other = (photographs.draw("twin_seated/front_001.jpg", seed) for seed in (1, 2))
    assert one.tobytes() != other.tobytes()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(OutNotEmpty, match="not an empty folder"):
        write_demo(tmp_path, seed=0, per_class=2)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_drawing_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path / "demo", seed=0, per_class=2, processes=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_the_showcase_is_a_tablet_a_coin_and_the_tablet_out_of_focus(tmp_path: Path) -> None:
    paths = showcase(tmp_path, seed=1)
    assert {path.name for path in paths.values()} == {"amulet.jpg", "coin.jpg", "blurred.jpg"}

    def sharpness(name: str) -> float:
        luma = np.asarray(Image.open(paths[name]).convert("L"), dtype=np.float64)
        return float(np.diff(luma, axis=1).var())

    assert sharpness("blurred") < sharpness("amulet") / 10
    before = {name: path.read_bytes() for name, path in paths.items()}
    assert {name: path.read_bytes() for name, path in showcase(tmp_path, seed=1).items()} == before
