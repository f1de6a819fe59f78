"""The class tree of a classes.yaml: its levels are partitions, each coarser than the one below."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.training.data.cast import write_folder
from training.data.check import check_folder
from training.data.names import read_names

TREE = """
levels:
  mould: {en: Mould, th: พิมพ์}
  temple: {en: Temple, th: วัด}
classes:
  first: {en: First edition, th: รุ่นแรก, parent: seated}
  second: {en: Second edition, th: รุ่นสอง, parent: seated}
  third: {en: Third edition, th: รุ่นสาม, parent: standing}
  other: {en: Another, th: อื่น}
groups:
  seated: {en: Seated, th: นั่ง, parent: nong}
  standing: {en: Standing, th: ยืน, parent: nong}
  nong: {en: Wat Nong, th: วัดหนอง}
"""
CLASSES = ("first", "other", "second", "third")


def levels_in(folder: Path, text: str) -> dict[str, dict[str, tuple[str, ...]]]:
    (folder / "classes.yaml").write_text(text, "utf-8")
    levels = read_names(folder / "classes.yaml", CLASSES).levels
    return {level.id: {group.id: group.classes for group in level.groups} for level in levels}


def test_each_level_is_a_cut_and_a_class_that_ends_above_it_stands_for_itself(tmp_path: Path) -> None:
    assert levels_in(tmp_path, TREE) == {
        "mould": {"seated": ("first", "second"), "other": ("other",), "standing": ("third",)},
        "temple": {"nong": ("first", "second", "third"), "other": ("other",)},
    }


def test_branches_of_different_depth_are_cut_from_the_top(tmp_path: Path) -> None:
    """Else `nong` would stand beside `seated`, which it holds."""
    shorter = TREE.replace("th: รุ่นสาม, parent: standing", "th: รุ่นสาม, parent: nong")
    assert levels_in(tmp_path, shorter) == {
        "mould": {"seated": ("first", "second"), "other": ("other",), "third": ("third",)},
        "temple": {"nong": ("first", "second", "third"), "other": ("other",)},
    }


def test_a_cut_that_tells_nothing_apart_is_no_level(tmp_path: Path) -> None:
    everything = TREE.replace("other: {en: Another, th: อื่น}", "other: {en: Another, th: อื่น, parent: nong}")
    assert list(levels_in(tmp_path, everything)) == ["mould"]


def test_levels_without_names_are_numbered_and_no_tree_has_none(tmp_path: Path) -> None:
    assert list(levels_in(tmp_path, TREE.partition("classes:")[1] + TREE.partition("classes:")[2])) == [
        "level_1",
        "level_2",
    ]
    assert levels_in(tmp_path, "classes: {first: {en: First}}") == {}


def test_the_check_shows_the_tree_and_what_is_not_translated(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2, "c": 2})
    (tmp_path / "classes.yaml").write_text(
        "groups: {x: {en: X, th: เอกซ์}}\nclasses: {a: {en: A, th: เอ, parent: x}, b: {en: B, parent: x}}", "utf-8"
    )

    found = check_folder(tmp_path)

    assert found.document()["levels"] == {"level_1": {"x": ["a", "b"], "c": ["c"]}}
    assert "classes.yaml has no en name for c. classes.yaml has no th name for b, c." in found.advice


@pytest.mark.parametrize("text", ["classes: {z: {en: Z}}", "groups: {x: {}}"])
def test_the_check_says_why_training_would_refuse_the_tree(tmp_path: Path, text: str) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "classes.yaml").write_text(text)

    found = check_folder(tmp_path)

    assert found.unusable is not None
    assert "classes.yaml" in found.unusable
