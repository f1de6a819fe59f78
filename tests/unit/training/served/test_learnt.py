"""Photographs that a model was trained on are counted wherever it is measured, whatever folder they lie in now."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from model_store import examples
from model_store.archive import Archive
from tests.unit.training.conftest import SmallRun
from tests.unit.training.evaluation.cast import Colours, write_colours
from training.commands.evaluate import evaluate as command
from training.data.folder import load_folder, load_outside, scan_folder
from training.errors import ModelUnreadable, SettingWrong
from training.evaluation import report, robustness, robustness_page, subjects
from training.evaluation.evaluate import OutsideSet, evaluate
from training.experiments.compare import compare_models
from training.export import comparison
from training.export.package import package
from training.served import learnt
from training.served.answers import GraphModel


@pytest.fixture
def colours(tmp_path: Path) -> Colours:
    """Its run says that it learnt from the two first red and the two first grey photographs."""
    found = write_colours(tmp_path)
    photos = scan_folder(found.data).photos
    (grey,) = load_outside(found.grey).values()
    red = [photo for photo in photos if photo.label == "red"]
    told = learnt.document({"train": red[:1], "calibration": red[1:2], "thresholds": []}, grey[:2])
    (found.run / learnt.FILE).write_text(json.dumps(told), "utf-8")
    return found


def test_a_run_lists_all_that_it_learnt_from_and_its_archive_no_more_than_its_references(
    small_run: SmallRun, tmp_path: Path
) -> None:
    told = json.loads((small_run.run / learnt.FILE).read_text("utf-8"))
    card = GraphModel.open(small_run.run, threads=1).card
    counts = {name: len(told[name]) for name in ("train", "calibration", "thresholds")}
    assert counts == card.data.split.counts
    photos = load_folder(small_run.data).photos
    assert {digest for name in counts for digest in told[name]} == {photo.sha256[:16] for photo in photos}
    (others,) = load_outside(small_run.outside).values()
    assert 0 < len(told["others"]) < len(others)
    assert set(told["others"]) < {photo.sha256[:16] for photo in others}

    package(small_run.run, tmp_path / "fruit.mar", sign_key=None)
    archive = Archive.open(tmp_path / "fruit.mar")
    assert learnt.FILE not in archive.names
    listed = {example.id for example in examples.parse(archive.read(examples.FILE))}
    members = b"".join(archive.read(name) for name in archive.names if name != examples.FILE)
    for photo in photos:
        assert (photo.sha256[:16].encode() in members) is False
        if photo.sha256[:16] in {*told["calibration"], *told["thresholds"]}:
            assert photo.sha256[:16] not in listed


def test_photographs_of_the_training_are_counted_under_other_names_and_in_fewer_classes(
    small_run: SmallRun, tmp_path: Path
) -> None:
    for label in ("apple", "berry"):
        shutil.copytree(small_run.data / label, tmp_path / "two" / label)
    (tmp_path / "two/apple/front_000.jpg").rename(tmp_path / "two/apple/new_name.jpg")
    outside = [OutsideSet("other", small_run.outside)]
    found = evaluate(GraphModel.open(small_run.run, threads=1), tmp_path / "two", outside)

    data = found.document()["data"]
    assert data["seen_in_training"] is True
    assert data["trained_on"] == {"photos": 16, "of": 16, "told_by": "run"}
    placed = len(json.loads((small_run.run / learnt.FILE).read_text("utf-8"))["others"])
    assert data["placed_borders"] == {"other": placed}
    model = GraphModel.open(small_run.run, threads=1)
    page = report.page(subjects.of_evaluation(model, found))
    assert "16 of 16 photographs were trained on: every figure here is too good" in page
    assert f"{placed} of 6 photographs of other placed the borders" in page

    package(small_run.run, tmp_path / "fruit.mar", sign_key=None)
    archived = evaluate(GraphModel.open(tmp_path / "fruit.mar", threads=1), tmp_path / "two", outside)
    assert archived.trained_on.told_by == "references"
    assert archived.trained_on.photos is not None
    assert 0 < archived.trained_on.photos < 16
    assert archived.trained_on.said.startswith("at least ")
    assert archived.document()["data"]["placed_borders"] == {"other": None}
    whole = evaluate(GraphModel.open(tmp_path / "fruit.mar", threads=1), small_run.data)
    assert whole.trained_on.said == "24 of 24 photographs were trained on"


def test_some_of_the_photographs_are_counted_in_every_report(colours: Colours, tmp_path: Path) -> None:
    model = GraphModel.open(colours.run, threads=1)
    html = tmp_path / "page.html"
    arguments = [str(colours.run), str(colours.data), "--ood", f"grey={colours.grey}", "--html", str(html)]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    assert "2 of 19 photographs were trained on: every figure above is too good" in done.stdout
    assert "2 of 4 photographs of grey placed the model's borders" in done.stdout
    assert "2 of 19 photographs were trained on" in html.read_text("utf-8")

    worse = robustness.of_model(model, colours.data, degradations=robustness.chosen(["jpeg"]))
    assert worse.document()["data"]["trained_on"]["photos"] == 2
    assert "2 of 19 photographs were trained on: read how far" in robustness_page.page(worse)

    with pytest.raises(SettingWrong, match=r"2 of 19 photographs were trained on.*keep some aside"):
        compare_models([colours.run, colours.run.parent / "other"], colours.data, threads=1)


def test_forms_say_of_the_photographs_that_they_are_measured_on_how_many_were_trained_on(
    colours: Colours, tmp_path: Path
) -> None:
    # A copy of each: ten are needed, and of each class every other one measures, together with its copy.
    for label in ("red", "green", "blue"):
        for file in list((colours.data / label).iterdir()):
            (file.parent / f"x{file.name}").write_bytes(file.read_bytes() + b"\0")
    found = comparison.export(colours.run, colours.data, tmp_path / "forms", forms=[])
    told = found.document()
    assert told["trained_on"] == {"photos": 1, "of": 18, "told_by": "run"}
    assert told["seen_in_training"] is True


def test_what_tells_nothing_is_not_taken_for_unseen(colours: Colours) -> None:
    for name in (learnt.FILE, examples.FILE):
        (colours.run / name).unlink()
    found = evaluate(GraphModel.open(colours.run, threads=1), colours.data).document()["data"]
    assert found["trained_on"] == {"photos": None, "of": 19, "told_by": "fingerprint"}
    assert found["seen_in_training"] is False


def test_a_list_that_cannot_be_read_is_named(colours: Colours) -> None:
    for text in (
        "{}",
        "[]",
        "no JSON",
        '{"schema": 2, "others": []}',
        '{"schema": true, "train": [], "others": []}',
        '{"schema": 1, "train": [], "others": 3}',
    ):
        (colours.run / learnt.FILE).write_text(text, "utf-8")
        with pytest.raises(ModelUnreadable, match=r"learnt\.json does not say"):
            evaluate(GraphModel.open(colours.run, threads=1), colours.data)
