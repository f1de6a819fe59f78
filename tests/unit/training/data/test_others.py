"""Photographs of other things: none of a class among them, and no copy on both sides of their division."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.unit.training.data.cast import copy_of, picture, write_folder
from training.data.duplicates import groups, near_duplicates, shared_photos
from training.data.errors import DataWrong
from training.data.folder import Photo, load_folder
from training.data.others import read_others, set_aside
from training.data.splits import divide
from training.errors import DataTooSmall, SettingWrong

SHARES = {"thresholds": 0.4, "report": 0.6}


def pictures(name: str, seeds: range, *, smaller: bool = False) -> tuple[Photo, ...]:
    """smaller: copies, saved again at three quarters of their size."""
    made = (picture(seed).resize((72, 96)) if smaller else picture(seed) for seed in seeds)
    return tuple(copy_of(image, f"{name}/{number:03}.jpg") for number, image in enumerate(made))


def names(photos: tuple[Photo, ...]) -> list[str]:
    return [photo.relative for photo in photos]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_sets_without_copies_of_one_another_are_divided_as_each_alone(seed: int) -> None:
    coins = (*pictures("coins", range(20)), copy_of(picture(3).resize((72, 96)), "coins/again.jpg"))
    sets = {"coins": coins, "buttons": pictures("buttons", range(100, 111))}
    alone = {name: divide(groups(photos, near_duplicates(photos)), SHARES, seed=seed) for name, photos in sets.items()}

    found = set_aside(sets, borders_share=0.4, seed=seed)

    assert names(found.thresholds) == [name for parts in alone.values() for name in names(parts["thresholds"])]
    assert {name: names(photos) for name, photos in found.report.items()} == {
        name: names(parts["report"]) for name, parts in alone.items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_a_copy_in_another_set_stands_on_the_same_side_and_moves_no_third_set(seed: int) -> None:
    buttons = pictures("buttons", range(100, 111))
    sets = {
        "coins": pictures("coins", range(20)),
        "buttons": buttons,
        "found": (*pictures("found", range(12), smaller=True), *pictures("found/new", range(200, 206))),
    }
    for name, photos in (("coins", sets["coins"]), ("found", sets["found"])):
        assert len(shared_photos(photos, sets["found" if name == "coins" else "coins"])) == 12  # they are copies

    found = set_aside(sets, borders_share=0.4, seed=seed)

    reported = [photo for photos in found.report.values() for photo in photos]
    assert shared_photos(found.thresholds, reported) == ()
    assert len(found.thresholds) + len(reported) == 20 + 11 + 18
    assert all(found.report.values())
    assert found.report["buttons"] == divide([(photo,) for photo in buttons], SHARES, seed=seed)["report"]


def test_files_of_one_name_in_two_sets_are_two_photographs() -> None:
    sets = {
        name: tuple(copy_of(picture(first + number), f"{number}.jpg") for number in range(6))
        for name, first in (("coins", 0), ("buttons", 50))
    }
    found = set_aside(sets, borders_share=0.5, seed=0)
    kept = [*found.thresholds, *(photo for photos in found.report.values() for photo in photos)]
    assert sorted(photo.sha256 for photo in kept) == sorted(
        photo.sha256 for photos in sets.values() for photo in photos
    )


def test_a_set_that_cannot_be_divided_is_named() -> None:
    one = (copy_of(picture(1), "coins/a.jpg"), copy_of(picture(1).resize((72, 96)), "coins/b.jpg"))
    with pytest.raises(DataTooSmall, match="the set coins of other things has 1 independent photograph: "):
        set_aside({"coins": one}, borders_share=0.4, seed=0)


def test_copies_of_photographs_of_a_class_are_left_out_and_named(tmp_path: Path) -> None:
    folder = load_folder(write_folder(tmp_path / "classes", {"a": 3, "b": 3}))
    coins = tmp_path / "coins"
    coins.mkdir()
    for number in range(4):
        picture(500 + number).save(coins / f"{number}.jpg")
    Image.open(tmp_path / "classes/a/front_000.jpg").resize((70, 93)).save(coins / "stray.jpg")

    found = read_others([coins], folder)

    assert [path.name for path in (photo.path for photo in found.kept["coins"])] == [f"{n}.jpg" for n in range(4)]
    assert len(found.given["coins"]) == 5
    assert found.left_out == (
        f"{coins / 'stray.jpg'} is a copy of a/front_000.jpg of the data set: it cannot be of a class and of none",
    )
    with pytest.raises(SettingWrong, match="two sets of other things are called coins"):
        read_others([coins, coins], folder)
    (coins / "same.jpg").write_bytes((tmp_path / "classes/b/back_001.jpg").read_bytes())
    with pytest.raises(DataWrong, match=r"same\.jpg is the same photograph as b/back_001\.jpg of the data set"):
        read_others([coins], folder)
