"""Divisions that keep copies together and give every part its share."""

from __future__ import annotations

import dataclasses
import io
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.training.data.cast import photo, picture, write_folder
from training.data.duplicates import copies, groups, near_duplicates
from training.data.errors import SplitImpossible
from training.data.folder import Folder, Photo, load_folder
from training.data.splits import PARTS, Split, divide, folds, leaks, split

SIDES = (words.SIDE_FRONT, words.SIDE_BACK)


@st.composite
def groups_of_photographs(draw: st.DrawFn) -> list[tuple[Photo, ...]]:
    """Two to five classes of 4 to 30 groups of one to four copies, some with a stray label."""
    made: list[tuple[Photo, ...]] = []
    number = 0
    labels = [f"class_{index}" for index in range(draw(st.integers(2, 5)))]
    for label in labels:
        for size in draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 4]), min_size=4, max_size=30)):
            members = []
            for copy in range(size):
                stray = size == 4 and copy == 3 and draw(st.booleans())
                side = SIDES[draw(st.integers(0, 1))]
                members.append(dataclasses.replace(_BLANK, label=labels[0] if stray else label, side=side))
                number += 1
            made.append(
                tuple(
                    dataclasses.replace(member, relative=f"{member.label}/{number:04}_{copy}.jpg")
                    for copy, member in enumerate(members)
                )
            )
    return made


_BLANK = photo("a", 0, look_seed=0)


@given(together=groups_of_photographs(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_every_photograph_is_in_one_part_and_no_group_in_two(together: list[tuple[Photo, ...]], seed: int) -> None:
    parts = divide(together, PARTS, seed=seed)
    dealt = [photo.relative for photos in parts.values() for photo in photos]
    assert sorted(dealt) == sorted(photo.relative for members in together for photo in members)
    part_of = {photo.relative: name for name, photos in parts.items() for photo in photos}
    assert all(len({part_of[photo.relative] for photo in members}) == 1 for members in together)


@given(together=groups_of_photographs(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_every_class_reaches_every_part_near_its_share(together: list[tuple[Photo, ...]], seed: int) -> None:
    parts = divide(together, PARTS, seed=seed)
    majority = Counter(Counter(photo.label for photo in members).most_common(1)[0][0] for members in together)
    for name, photos in parts.items():
        labels = Counter(photo.label for photo in photos)
        for label in majority:
            assert labels[label] >= 1, (name, label)
    classes = Counter(photo.label for members in together for photo in members)
    for label, count in classes.items():
        for name, share in PARTS.items():
            have = sum(photo.label == label for photo in parts[name])
            assert abs(have - count * share) <= 4 + 2, (name, label)  # the largest group and the promise of one


@given(together=groups_of_photographs(), seed=st.integers(0, 2**32 - 1), shuffle=st.randoms())
@settings(max_examples=30, deadline=None)
def test_the_division_depends_on_the_seed_and_not_on_the_order(
    together: list[tuple[Photo, ...]], seed: int, shuffle: random.Random
) -> None:
    again = list(together)
    shuffle.shuffle(again)
    assert divide(together, PARTS, seed=seed) == divide(again, PARTS, seed=seed)


def alone(label: str, count: int, side: words.Side.ValueType = words.SIDE_FRONT) -> list[tuple[Photo, ...]]:
    """So many photographs of a class and side, each a group of its own."""
    return [
        (dataclasses.replace(_BLANK, label=label, side=side, relative=f"{label}/{side}_{number:03}.jpg"),)
        for number in range(count)
    ]


HALVES = {"one": 0.5, "other": 0.5}


@pytest.mark.parametrize("seed", range(10))
def test_sides_are_shared_out_as_classes_are(seed: int) -> None:
    together = [members for label in "ab" for side in SIDES for members in alone(label, 10, side)]
    for photos in divide(together, HALVES, seed=seed).values():
        assert Counter((photo.label, photo.side) for photo in photos) == {
            (label, side): 5 for label in "ab" for side in SIDES
        }


@pytest.mark.parametrize("seed", range(10))
def test_photographs_that_do_not_divide_go_now_here_and_now_there(seed: int) -> None:
    """Each class has one photograph too many for its halves: no part gets all of those."""
    together = [members for label in "abcdefghij" for members in alone(label, 5)]
    sizes = [len(photos) for photos in divide(together, HALVES, seed=seed).values()]
    assert sizes == [25, 25]


def test_copies_of_a_photograph_stay_on_one_side_of_every_division(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a": 12, "b": 12})
    for number in range(0, 12, 3):
        original = Image.open(root / f"a/{'front' if number % 2 == 0 else 'back'}_{number:03}.jpg")
        original.resize((48, 64)).save(root / f"a/small_{number}.jpg", quality=60)
        original.transpose(Image.Transpose.ROTATE_90).save(root / f"b/turned_{number}.png")  # and wrongly labelled
        buffer = io.BytesIO()
        original.save(buffer, "JPEG", quality=30)
        (root / f"a/recompressed_{number}.jpg").write_bytes(buffer.getvalue())
    folder = load_folder(root)

    for seed in range(5):
        division = split(folder, seed=seed)
        assert leaks(division) == ()
        part_of = {photo.relative: name for name, photos in division.parts.items() for photo in photos}
        for number in range(0, 12, 3):
            side = "front" if number % 2 == 0 else "back"
            names = (f"a/{side}_{number:03}.jpg", f"a/small_{number}.jpg", f"b/turned_{number}.png")
            assert len({part_of[name] for name in names}) == 1
    for fold in folds(folder, 4, seed=1):
        assert leaks(Split(seed=1, method="", parts={"train": fold.train, "test": fold.test})) == ()


def test_a_leak_is_found_in_a_division_that_someone_else_made(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a": 4, "b": 4})
    picture(1000).save(root / "a/copy.png")
    folder = load_folder(root)
    careless = Split(seed=0, method="careless", parts={"train": folder.photos[1:], "test": folder.photos[:1]})
    assert folder.photos[0].relative == "a/back_001.jpg"
    assert leaks(careless) == ()
    front = next(photo for photo in folder.photos if photo.relative == "a/front_000.jpg")
    careless = Split(
        seed=0,
        method="careless",
        parts={"test": (front,), "train": tuple(photo for photo in folder.photos if photo != front)},
    )
    assert leaks(careless) == (("a/copy.png", "a/front_000.jpg"),)


def test_folds_test_every_photograph_once(tmp_path: Path) -> None:
    folder = load_folder(write_folder(tmp_path, {"a": 10, "b": 7}))
    rounds = folds(folder, 5, seed=3)
    assert sorted(photo.relative for fold in rounds for photo in fold.test) == [p.relative for p in folder.photos]
    for fold in rounds:
        assert set(fold.train) | set(fold.test) == set(folder.photos)
        assert not set(fold.train) & set(fold.test)
        assert {photo.label for photo in fold.test} == {"a", "b"}
    assert max(len(fold.test) for fold in rounds) - min(len(fold.test) for fold in rounds) <= 2
    assert folds(folder, 5, seed=3) == rounds
    assert folds(folder, 5, seed=4) != rounds


def test_too_few_independent_photographs_are_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a": 6, "b": 3})
    for number in range(3):
        picture(2000).save(root / f"b/copy_{number}.png")
    folder: Folder = load_folder(root)
    with pytest.raises(SplitImpossible, match="class b has 3 independent photographs"):
        split(folder, seed=0)


def test_shares_that_are_none_are_our_own_mistake(tmp_path: Path) -> None:
    folder = load_folder(write_folder(tmp_path, {"a": 2, "b": 2}))
    with pytest.raises(ValueError, match="above 0"):
        split(folder, seed=0, parts={"train": 1.0, "test": 0.0})
    with pytest.raises(ValueError, match="at least 2 folds"):
        folds(folder, 1, seed=0)


def test_views_of_one_object_stay_together_and_are_a_leak_where_they_do_not(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a": 12, "b": 12})
    for label in ("a", "b"):
        for number, file in enumerate(sorted((root / label).iterdir())):
            file.rename(file.with_name(f"{file.name.partition('_')[0]}_obj{number % 6}_{number}.jpg"))
    folder = load_folder(root)
    for seed in range(5):
        division = split(folder, seed=seed, parts={"one": 1.0, "other": 1.0})
        assert all(len({photo.object for photo in photos}) == len(photos) / 2 for photos in division.parts.values())
        assert leaks(division) == ()
    first, second, *others = sorted(folder.photos, key=lambda photo: photo.object)
    assert first.object == second.object == "a/0"
    careless = Split(seed=0, method="", parts={"one": (first,), "other": (second, *others)})
    assert leaks(careless) == (tuple(sorted((first.relative, second.relative))),)


def test_objects_of_the_same_number_in_two_classes_are_two(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a": 2, "b": 2})
    for label in ("a", "b"):
        (root / label / "front_000.jpg").rename(root / label / "front_obj1.jpg")
        (root / label / "back_001.jpg").rename(root / label / "back_OBJ1_001.jpg")
    photos = load_folder(root).photos
    assert [len(members) for members in groups(photos, near_duplicates(photos))] == [2, 2]
    assert [len(members) for members in copies(photos, near_duplicates(photos))] == [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["front_001.jpg", "object_1.jpg", "front_objects_obj.jpg", "robj1.jpg"])
def test_a_name_that_says_nothing_of_an_object_makes_none(tmp_path: Path, name: str) -> None:
    root = write_folder(tmp_path, {"a": 1, "b": 1})
    (root / "a/front_000.jpg").rename(root / "a" / name)
    assert {photo.object for photo in load_folder(root).photos} == {""}
