"""Where results go and what experiments are given: what would be lost or wasted is refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cli.main import amulet
from tests.unit.training.data.cast import picture, write_folder
from training.data.folder import load_folder
from training.experiments.kept_trials import KeptTrials
from training.experiments.trials import Ground, Trial
from training.fitting.recipe import recipe_of


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_folder(tmp_path / "data", {"a": 6, "b": 6})


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(amulet, arguments)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "data", "--out", "data/run"],
        ["train", ".", "--out", "run"],
        ["search", "data", "--out", "data/a/found"],
        ["synth", "make", "data", "--out", "data/made"],
        ["quantize", "run", "--data", "data", "--out", "data/run-int8"],
        ["export", "run", "--data", "data", "--out", "data/forms"],
        ["data", "outside", "--classes", "data", "--out", "data/things", "--photos", "4"],
    ],
)
def test_results_do_not_become_a_class_of_the_photographs(command: list[str]) -> None:
    refused = typed(*command)

    assert refused.exit_code == 2
    assert "where each folder is a class: name a folder beside it" in refused.stderr
    assert sorted(path.name for path in Path("data").iterdir()) == ["a", "b"]


def test_other_things_may_lie_under_ood(data: Path) -> None:
    made = typed("data", "outside", "--classes", "data", "--out", "data/ood", "--photos", "4")

    assert made.exit_code == 0, made.stderr
    assert (data / "ood" / "manifest.json").is_file()


def test_an_archive_replaces_no_other_file(data: Path) -> None:
    kept = data / "a/front_000.jpg"
    before = kept.read_bytes()

    refused = typed("package", "run", "--out", str(kept))

    assert refused.exit_code == 2
    assert "exists and is no archive: name a new file, as in run.mar" in refused.stderr
    assert kept.read_bytes() == before


def test_a_review_sheet_replaces_nothing() -> None:
    Path("sheet.zip").write_text("answers are being given")

    refused = typed("synth", "sheet", "data", "--out", "sheet.zip")

    assert refused.exit_code == 2
    assert "--out sheet.zip exists: name a new file for the review sheet" in refused.stderr
    assert Path("sheet.zip").read_text() == "answers are being given"


def test_the_other_folder_is_looked_for_before_labels_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(*_args: object, **_more: object) -> None:
        raise AssertionError("photographs were read first")

    monkeypatch.setattr("training.data.check.scan_folder", reading)

    refused = typed("data", "check", "data", "--against", "nowhere")

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "there is no folder nowhere" in refused.stderr


def _same_name(data: Path) -> list[str]:
    for number, place in enumerate(("one", "two")):
        (data.parent / place / "coins").mkdir(parents=True)
        picture(70 + number).save(data.parent / place / "coins/x.png")
    return ["--ood", "one/coins", "--ood", "two/coins"]


def _own_photographs(_data: Path) -> list[str]:
    return ["--ood", "data/a"]


def _copies(data: Path) -> list[str]:
    (data.parent / "coins").mkdir()
    with Image.open(data / "a/front_000.jpg") as image:
        image.save(data.parent / "coins/again.png")
    return ["--ood", "coins"]


@pytest.mark.parametrize("experiment", ["ablate", "detectors"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (_same_name, "two sets of other things are called coins: give them folders of different names"),
        (_own_photographs, "it cannot be of a class and of none"),
        (_copies, "again.png is a copy of a/front_000.jpg of the data set: it cannot be of a class and of none; move"),
    ],
)
def test_experiments_take_other_things_as_training_does(
    data: Path, experiment: str, given: Callable[[Path], list[str]], said: str
) -> None:
    for number in range(6):
        (data / "c").mkdir(exist_ok=True)
        picture(500 + number).save(data / f"c/{number}.jpg")

    refused = typed(experiment, "data", "--seeds", "1", "--folds", "2", *given(data))

    assert refused.exit_code == 1
    assert said in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--vary", "views=4,8,4"], "views 4 is to be tried twice: name each value once"),
        (["--vary", "backbone=resnet50"], "no package brings pretrained weights of resnet50"),
        (["--trials", "data/a/front_000.jpg"], "--trials data/a/front_000.jpg is no folder: name another"),
    ],
)
def test_an_ablation_begins_nothing_that_ends_without_a_result_or_keeps_none(arguments: list[str], said: str) -> None:
    refused = typed("ablate", "nowhere", *arguments)  # said even before the photographs are looked for

    assert refused.exit_code in (1, 2)
    assert said in refused.stderr


def test_trials_that_cannot_be_kept_are_said_so_once(data: Path) -> None:
    (data / "file.txt").write_text("no folder")
    rows, said = np.zeros(12), list[str]()
    trial = Trial(rows.astype(np.intp), rows, rows, rows.astype(bool), rows, rows.astype(np.intp), {})
    folder = load_folder(data)
    ground = Ground(folder, [[photo] for photo in folder.photos], {}, 2)
    kept = KeptTrials(data / "file.txt", ground, warn=said.append)

    for seed in (0, 1):
        kept.write(recipe_of("standard"), seed, trial)

    (sentence,) = said
    assert sentence.startswith(f"finished trials are not kept, as {data / 'file.txt'} takes no files (File exists)")


@pytest.mark.parametrize("limit", ["--fid-max", "--copies-max", "--accept-min"])
def test_no_limit_of_a_judgement_is_nan(limit: str) -> None:
    refused = typed("synth", "judge", "data", "data", limit, "nan")

    assert refused.exit_code == 2
    assert f"'{limit}': nan is no number in the range" in refused.stderr


def test_a_judgement_exports_no_network_for_photographs_that_are_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def exporting(*_args: object, **_more: object) -> None:
        raise AssertionError("the backbone was exported first")

    monkeypatch.setattr("training.fitting.lenses.starting_backbone", exporting)

    refused = typed("synth", "judge", "data", "nowhere", "--folds", "2")

    assert refused.exit_code == 1
    assert "there is no folder nowhere" in refused.stderr
