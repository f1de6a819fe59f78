"""A second look by features: the nearest pairs that are no copies, and nothing that training takes for copies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.unit.training.data.cast import photo, picture, write_class, write_folder
from training.commands.data import data
from training.data.alike import most_alike, most_alike_across
from training.data.check import check_folder
from training.data.duplicates import groups, near_duplicates
from training.data.folder import Photo, load_folder
from training.data.labels import Array
from training.data.report import page

AT_DEGREES = (0.0, 5.0, 7.0, 40.0, 41.0, 90.0)


def placed(label: str) -> tuple[list[Photo], dict[str, Array]]:
    """Photographs whose features lie on a circle; lengths differ and say nothing."""
    photos = [photo(label, number, look_seed=number) for number in range(len(AT_DEGREES))]
    turned = np.deg2rad(AT_DEGREES)
    rows = np.stack([np.cos(turned), np.sin(turned)], axis=1) * np.arange(1, len(photos) + 1)[:, None]
    return photos, {each.relative: row for each, row in zip(photos, rows, strict=True)}


def numbers(found: Sequence[object]) -> list[tuple[int, int]]:
    return [(int(each.first.path.stem), int(each.second.path.stem)) for each in found]  # type: ignore[attr-defined]


def test_the_nearest_pairs_come_first_and_once() -> None:
    photos, features = placed("a")
    found = most_alike([(each,) for each in photos], features, 10)
    assert numbers(found) == [(3, 4), (1, 2), (0, 1), (4, 5)]
    assert [each.cosine for each in found] == pytest.approx(np.cos(np.deg2rad([1.0, 2.0, 5.0, 49.0])))
    assert numbers(most_alike([(each,) for each in photos], features, 2)) == [(3, 4), (1, 2)]


def test_copies_are_not_shown_again() -> None:
    photos, features = placed("a")
    together = [(photos[0],), (photos[1], photos[2]), (photos[3], photos[4]), (photos[5],)]
    found = most_alike(together, features, 10)
    assert (1, 2) not in numbers(found)
    assert (3, 4) not in numbers(found)
    assert numbers(found)[0] == (0, 1)
    assert most_alike([tuple(photos)], features, 10) == ()


def test_two_folders_are_compared_with_each_other_alone() -> None:
    (here, seen), (there, seen_there) = placed("a"), placed("b")
    there = there[1:]
    found = most_alike_across(here, there, [(here[1].relative, there[0].relative)], (seen, seen_there), 10)
    assert {(each.first.label, each.second.label) for each in found} == {("a", "b")}
    assert (1, 1) not in numbers(found)  # a copy that is known
    assert (2, 2) in numbers(found)


def test_a_check_lists_as_many_as_asked_for_and_leaves_groups_and_verdict_alone(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"apple": 16, "berry": 16})
    picture(1000).save(root / "apple" / "copy.png")
    write_class(tmp_path / "other", "one", 3, first_seed=500)
    plain = check_folder(root, against=tmp_path / "other")
    looked = check_folder(root, against=tmp_path / "other", second_look=5)
    assert plain.alike == ()
    assert len(looked.alike) == 5
    assert looked.against is not None
    assert len(looked.against.alike) == 5
    assert replace(looked, alike=(), against=plain.against) == plain
    assert looked.advice == plain.advice
    together = groups(load_folder(root).photos, near_duplicates(load_folder(root).photos))
    apart = {each.relative: number for number, members in enumerate(together) for each in members}
    assert all(apart[each.first.relative] != apart[each.second.relative] for each in looked.alike)
    text = page(looked)
    assert "A second look" in text
    assert f"{looked.alike[0].cosine:.2f}" in text
    assert "A second look" not in page(plain)


def test_the_command_prints_them(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"apple": 16, "berry": 16})
    arguments = ["check", str(root), "--quick", "--html", str(tmp_path / "page.html"), "--json"]
    told = json.loads(CliRunner().invoke(data, [*arguments, "--embedding", "3"]).stdout)
    assert len(told["alike"]) == 3
    assert set(told["alike"][0]) == {"file", "other", "cosine", "labels_differ"}
    assert json.loads(CliRunner().invoke(data, arguments).stdout)["alike"] == []
