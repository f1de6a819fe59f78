"""What is wrong with a folder of photographs ends in one sentence, as the command line prints it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.training.data.cast import picture, write_folder
from training.commands.data import data
from training.commands.train import train


def _nothing(root: Path) -> None:
    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()


def _one_class(root: Path) -> None:
    write_folder(root, {"a": 8})


def _three_photographs(root: Path) -> None:
    write_folder(root, {"a": 8, "b": 3})


def _unreadable(root: Path) -> None:
    write_folder(root, {"a": 8, "b": 8})
    (root / "b/front_000.jpg").write_bytes(b"not a photograph")


def _no_photograph_by_its_name(root: Path) -> None:
    write_folder(root, {"a": 8, "b": 8})
    (root / "b/front_000.jpg").rename(root / "b/front_000.heic")


def _not_utf_8(root: Path) -> None:
    write_folder(root, {"a": 8, "b": 8})
    (root / "b/front_000.jpg").rename(root / "b" / os.fsdecode("พระ.jpg".encode("cp874")))


def _class_without_folder(root: Path) -> None:
    write_folder(root, {"a": 8, "b": 8})
    (root / "classes.yaml").write_text("classes: {a: {en: A}, bb: {en: B}}")


def _circle(root: Path) -> None:
    write_folder(root, {"a": 8, "b": 8})
    (root / "classes.yaml").write_text("groups: {x: {en: X, parent: x}}\nclasses: {a: {en: A, parent: x}}")


def _loose(root: Path) -> None:
    write_folder(root, {"a": 8, "b": 8})
    picture(1).save(root / "loose.jpg")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _root: None, "there is no folder"),
        (_nothing, "holds no photographs: put JPEG, PNG or WebP files into one folder for each class"),
        (_one_class, "holds one class only (a): a classifier needs at least two class folders"),
        (_three_photographs, "class b has 3 independent photographs"),
        (_unreadable, "front_000.jpg is not a JPEG, PNG or WebP photograph: replace it or move it out"),
        (_no_photograph_by_its_name, "front_000.heic is not named like a photograph"),
        (_not_utf_8, r"\udcbe\udcc3\udcd0.jpg has a name that is not UTF-8: rename it"),
        (_class_without_folder, "names the class bb, which has no folder: did you mean b?"),
        (_circle, "the tree above a goes in a circle"),
        (_loose, "loose.jpg lies beside the class folders"),
    ],
)
def test_training_ends_in_one_sentence_and_leaves_nothing(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(tmp_path / "data")

    done = CliRunner().invoke(train, [str(tmp_path / "data"), "--out", str(tmp_path / "run")])

    assert done.exit_code == 1, done.output
    assert said in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"data"}


def test_photographs_that_people_may_take_back_are_not_shown(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"a": 8, "b": 8})
    (tmp_path / "data/manifest.json").write_text('{"form": "amulet labels 1", "photographs": []}')

    done = CliRunner().invoke(train, [str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--thumbnails"])

    assert done.exit_code == 1, done.output
    assert "is an export of a console: its photographs may be taken back" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_a_folder_that_gives_no_name_of_a_model_is_named(tmp_path: Path) -> None:
    data_folder = tmp_path / "พระเครื่อง"
    write_folder(data_folder, {"a": 8, "b": 8})

    found = CliRunner().invoke(train, [str(data_folder), "--out", str(tmp_path / "run"), "--runs", "none"])

    assert found.exit_code == 1
    assert "The folder พระเครื่อง does not give a model's name" in found.output
    assert "--name" in found.output


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"a": 2, "b": 2})

    done = CliRunner().invoke(data, ["check", str(tmp_path / "data"), "--quick", "--html", "/dev/full"])

    assert done.exit_code == 1
    assert done.stderr == "Error: the disk refused /dev/full: No space left on device\n"
