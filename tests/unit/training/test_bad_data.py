"""What is wrong with a folder of photographs ends in one sentence, as the command line prints it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.disks import files_of_at_most
from tests.tiny_archive import write_run
from tests.unit.training.data.cast import picture, write_folder
from training.commands.data import data
from training.commands.explain import explain
from training.commands.package import package
from training.commands.train import train
from training.experiments.search_command import search
from training.synthetic.commands import synth


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


def test_a_full_disk_is_named_with_what_would_help(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"a": 2, "b": 2})

    done = CliRunner().invoke(data, ["check", str(tmp_path / "data"), "--quick", "--html", "/dev/full"])

    assert done.exit_code == 1
    assert done.stderr == (
        "Error: the disk refused /dev/full: No space left on device; make room there, or name another place\n"
    )


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["demo", "outside", "synth", "explain", "explain again", "search", "package"])
def test_a_disk_that_fills_up_in_the_midst_of_work_is_one_sentence_and_nothing_is_half_done(
    tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    write_folder(tmp_path / "data", {"a": 8, "b": 8})
    (tmp_path / "run").mkdir()
    write_run(tmp_path / "run")
    command, *arguments = {
        "demo": (data, "demo", "--per-class", "2", "--out", out),
        "outside": (data, "outside", "--photos", "4", "--out", out),
        "synth": (synth, "make", tmp_path / "data", "--out", out),
        "explain": (explain, tmp_path / "run", tmp_path / "data", "--faithfulness", "0", "--out", out),
        "search": (search, tmp_path / "data", "--trials", "1", "--folds", "3", "--runs", "none", "--out", out),
        "package": (package, tmp_path / "run", "--out", out),
    }[name.partition(" ")[0]]
    if name == "explain again":
        assert CliRunner().invoke(explain, [*map(str, arguments), "--sample", "2"]).exit_code == 0
    before = _files(out)

    with files_of_at_most(300):
        done = CliRunner().invoke(command, [str(each) for each in arguments])

    assert done.exit_code == 1, done.output
    where = {
        "explain": out / "maps",
        "explain again": out / "maps",
        "package": Path(tempfile.gettempdir()),
        "search": out / "request.json",
    }.get(name, out)
    assert done.stderr == (
        f"Error: the disk refused {where}: File too large; let this user's files be larger (ulimit -f), "
        f"or name another {'folder by TMPDIR' if name == 'package' else 'place'}\n"
    )
    assert {path: content for path, content in _files(out).items() if not path.startswith("cache/")} == {
        path: content for path, content in before.items() if not path.startswith("cache/")
    }
    assert not [path for path in tmp_path.rglob(".*") if path.name.startswith(".")]
