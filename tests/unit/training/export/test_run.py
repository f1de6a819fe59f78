"""What a training leaves behind: a whole run, honest records, a card that is true, an archive that verifies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from model_store import examples, reference
from model_store.archive import Archive
from model_store.card import Card, ExamplesCard
from model_store.signing import generate_key
from tests.unit.training.conftest import SmallRun
from training.data.folder import load_folder
from training.errors import ModelUnreadable, SettingWrong
from training.export import run_folder
from training.export.package import package
from training.fitting.version import DETECTORS
from training.served.answers import GraphModel
from training.served.learnt import digest_of


def card_of(run: SmallRun) -> Card:
    return Card.parse((run.run / "model.json").read_bytes())


def test_a_run_holds_its_files_and_nothing_half_done(small_run: SmallRun) -> None:
    names = {path.name for path in small_run.run.iterdir()}
    assert names >= {"model.onnx", "model.json", "metrics.json", "reference.json", "checkpoint.pt", "report.html"}
    assert examples.FILE in names
    assert {name for name in names if name.startswith("golden_")}
    assert [path.name for path in small_run.run.parent.iterdir() if path.name.startswith(".")] == []


def test_the_reference_holds_what_callers_photographs_are_compared_with(small_run: SmallRun) -> None:
    known = reference.parse((small_run.run / "reference.json").read_bytes())
    photos = load_folder(small_run.data).photos
    measured = ("confidence", "sharpness_var", "brightness_ratio", "contrast_ratio", "shorter_side_px")
    for name in (*measured, *reference.EMBEDDING):
        assert known.samples[name].count == len(photos)
    sides = sorted(min(photo.width_px, photo.height_px) for photo in photos)
    assert known.samples["shorter_side_px"].range == (sides[0], sides[-1])
    said = known.counts["predicted_class"]
    assert {name: known.samples[reference.confidence_in(name)].count for name in said} == dict(said)


def test_the_card_says_what_was_trained_from_what(small_run: SmallRun) -> None:
    card, folder = card_of(small_run), load_folder(small_run.data)
    assert card.name == "fruit"
    assert [item.id for item in card.classes] == ["apple", "berry", "cherry"]
    assert (card.data.name, card.data.photos) == (small_run.data.name, len(folder.photos))
    assert card.data.fingerprint == folder.fingerprint
    assert dict(card.data.per_class) == {"apple": 8, "berry": 8, "cherry": 8}
    assert sum(card.data.split.counts.values()) == 24
    assert card.data.split.leaks == ()
    assert card.graph.sha256 == hashlib.sha256((small_run.run / "model.onnx").read_bytes()).hexdigest()
    assert set(card.graph.detectors) == set(DETECTORS)
    assert (card.training.seed, card.data.split.seed, card.training.recipe) == (5, 5, "standard")
    assert card.training.config["views"] == 1
    assert card.training.config["folds"] == 2
    assert card.training.config["outside"] == ["other"]
    assert card.training.environment["torch"].startswith("2.")
    assert (card.weights.backbone, card.weights.licence) == ("tf_efficientnet_lite0", "Apache-2.0")
    assert "other" in card.decision.chosen_on
    assert card.calibration is not None
    assert (card.temperature == 1.0) == bool(card.calibration.refused)
    assert card.version == f"v20261125_tf_efficientnet_lite0_{_figure(card, 'macro_f1_cv'):.3f}"
    assert all(item.low <= item.value <= item.high for item in card.metrics)
    shares = [item for item in card.metrics if item.name.startswith(("accuracy", "accepted", "wrongly", "rejected"))]
    assert len(shares) >= 4
    assert all(item.high - item.low > 0.1 for item in shares)  # so few photographs leave room, at 0 and at 1, too


def test_the_card_says_what_the_graph_takes_and_gives(small_run: SmallRun) -> None:
    card = card_of(small_run)
    session = onnxruntime.InferenceSession(small_run.run / "model.onnx", providers=["CPUExecutionProvider"])
    image = np.zeros((1, card.input.height_px, card.input.width_px, 3), np.uint8)
    outputs = [output.name for output in session.get_outputs()]
    given = dict(zip(outputs, session.run(outputs, {"image": image, "target": np.array([-1])}), strict=True))
    assert given["embedding"].shape == (1, card.graph.embedding_size)
    assert given["heatmap"].shape == (1, *card.graph.heat_map)
    assert {name.removeprefix("score_") for name in outputs if name.startswith("score_")} == set(card.graph.detectors)
    assert card.temperature == pytest.approx(_temperature_of(given["logits"], given["probabilities"]), rel=1e-3)


def test_the_tables_on_the_card_are_those_behind_its_figures(small_run: SmallRun) -> None:
    card, records = card_of(small_run), json.loads((small_run.run / "metrics.json").read_text("utf-8"))
    confusion, reliability = card.confusion, card.reliability
    assert confusion is not None
    assert reliability is not None
    matrix = records["confusion_matrix"]
    labels = matrix["labels"]
    assert [[confusion.count(shown, said) for said in labels] for shown in labels] == matrix["counts"]
    right = sum(confusion.count(label, label) for label in labels) / confusion.photos
    assert right == pytest.approx(_figure(card, "accuracy"))
    gaps = [abs(each.accuracy - each.confidence) * each.photos for each in reliability.bins]
    assert sum(gaps) / reliability.photos == pytest.approx(_figure(card, "ece"))
    for table, figure in ((confusion, "accuracy"), (reliability, "ece")):
        metric = card.metric(figure)
        assert metric is not None
        assert (table.photos, table.data) == (24, metric.data)


def test_the_references_are_named_in_the_graphs_order_and_none_is_shown_without_leave(small_run: SmallRun) -> None:
    text = (small_run.run / examples.FILE).read_bytes()
    listed, card = examples.parse(text), card_of(small_run)
    photos = {digest_of(photo): photo for photo in load_folder(small_run.data).photos}
    model = GraphModel.open(small_run.run, threads=1)
    images = np.stack([model.pixels(photos[example.id].path) for example in listed])
    session = onnxruntime.InferenceSession(small_run.run / "model.onnx")
    [nearest] = session.run(["nearest_index"], {"image": images, "target": np.full(len(images), -1, np.int64)})

    assert card.examples == ExamplesCard(len(listed), hashlib.sha256(text).hexdigest(), thumbnails=False)
    assert [example.class_id for example in listed] == [photos[example.id].label for example in listed]
    assert not any(example.thumbnail_jpeg for example in listed)
    # A reference is the mean of a photograph and its views: nearly always the one that it is nearest to.
    assert np.mean(nearest[:, 0] == np.arange(len(listed))) > 0.5


def test_a_thumbnail_that_may_be_shown_passes_the_verification(small_run: SmallRun) -> None:
    photo = load_folder(small_run.data).photos[0]
    pixels = GraphModel.open(small_run.run, threads=1).pixels(photo.path)

    [example] = examples.parse(run_folder.examples_of([photo], shown={photo.sha256: pixels}))

    assert example.thumbnail_jpeg


def test_the_card_holds_the_class_tree_and_what_each_level_promises(small_run: SmallRun) -> None:
    card = card_of(small_run)
    (level,) = card.levels
    assert (level.id, level.names["th"]) == ("kind", "ชนิด")
    assert {group.id: group.classes for group in level.groups} == {"stone": ("apple", "cherry"), "berry": ("berry",)}
    assert level.groups[0].names == {"en": "Stone fruit", "th": "ผลมีเมล็ดแข็ง"}
    assert 0.0 <= level.set_probability_min <= 1.0
    records = json.loads((small_run.run / "metrics.json").read_text("utf-8"))
    told = records["levels"]["kind"]
    assert _figure(card, "level_kind_set_coverage") == told["prediction_set_coverage"]
    assert _figure(card, "level_kind_accuracy") == told["accuracy"]
    answered = [row for row in records["predictions"] if row["level"] == "kind"]
    assert len(answered) == told["answered"]
    assert all(row["verdict"] == "UNSURE" for row in answered)
    assert "Above the classes" in (small_run.run / "report.html").read_text("utf-8")


def test_the_records_agree_with_the_card_and_with_each_other(small_run: SmallRun) -> None:
    card = card_of(small_run)
    records = json.loads((small_run.run / "metrics.json").read_text("utf-8"))
    assert records["model"] == card.version
    assert {item["name"]: item["value"] for item in records["figures"]} == {
        item.name: item.value for item in card.metrics
    }
    rows = records["predictions"]
    assert len(rows) == 24
    assert np.mean([row["head_predicted"] == row["label"] for row in rows]) == pytest.approx(_figure(card, "accuracy"))
    assert records["accuracy"] == pytest.approx(_figure(card, "accuracy"))
    assert records["ece"] == pytest.approx(_figure(card, "ece"))
    assert sum(map(sum, records["confusion_matrix"]["counts"])) == 24
    assert records["parity"]["photos"] == 24


def test_each_golden_photograph_is_answered_again_as_the_card_says(small_run: SmallRun) -> None:
    model = GraphModel.open(small_run.run, threads=1)
    assert model.card.golden
    for golden in model.card.golden:
        assert hashlib.sha256((small_run.run / golden.file).read_bytes()).hexdigest() == golden.sha256
        answers = model.answer([model.pixels(small_run.run / golden.file)])
        assert answers.probabilities[0] == pytest.approx(golden.probabilities, abs=1e-5)
        for name, value in golden.scores.items():
            assert float(answers.scores[name][0]) == pytest.approx(value, rel=1e-4)


def test_the_checkpoint_holds_tensors_and_plain_values_only(small_run: SmallRun) -> None:
    checkpoint = torch.load(small_run.run / "checkpoint.pt", weights_only=True)
    assert checkpoint["temperature"] == card_of(small_run).temperature
    assert json.loads(checkpoint["recipe"])["input_px"] == 96
    assert checkpoint["network"]["head.weight"].shape == (3, 1280)


def test_the_report_is_the_runs_own(small_run: SmallRun) -> None:
    page = (small_run.run / "report.html").read_text("utf-8")
    assert card_of(small_run).version in page
    assert "2-fold cross-validation on 24 photographs" in page
    assert "A class that it never saw" in page
    assert "<script" not in page


def test_a_signed_archive_of_the_run_opens_and_is_the_same_each_time(small_run: SmallRun, tmp_path: Path) -> None:
    generate_key(tmp_path / "key")
    first = package(small_run.run, tmp_path / "a.mar", sign_key=tmp_path / "key")
    assert first.signed_by
    archive = Archive.open(tmp_path / "a.mar")
    assert archive.card() == card_of(small_run)
    unsigned = [package(small_run.run, tmp_path / f"{number}.mar", sign_key=None) for number in range(2)]
    assert unsigned[0].sha256 == unsigned[1].sha256
    assert unsigned[0].signed_by is None
    assert "checkpoint.pt" not in first.members


def test_what_is_no_run_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="is no RUN folder"):
        package(tmp_path, tmp_path / "x.mar", sign_key=None)
    assert not (tmp_path / "x.mar").exists()


def test_a_run_is_reserved_for_one_and_mended_first(tmp_path: Path) -> None:
    out = tmp_path / "run"
    (tmp_path / ".run-abcdefgh/old").mkdir(parents=True)  # of one that was killed as it put another there

    with run_folder.reserved(out):
        assert out.is_dir()
        with pytest.raises(SettingWrong, match="another command writes to"), run_folder.reserved(out):
            pass

    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_nothing_but_an_earlier_run_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    (tmp_path / "file").write_text("")
    for name in ("mine", "file"):
        with pytest.raises(SettingWrong, match="is no earlier run"):
            run_folder.check_free(tmp_path / name)
    (tmp_path / "empty").mkdir()
    run_folder.check_free(tmp_path / "empty")
    run_folder.check_free(tmp_path / "new")
    (tmp_path / "mine/model.json").write_text("{}")
    run_folder.check_free(tmp_path / "mine")


def _figure(card: Card, name: str) -> float:
    metric = card.metric(name)
    assert metric is not None
    return metric.value


def _temperature_of(logits: np.ndarray, probabilities: np.ndarray) -> float:
    """By what logits were divided before they became these probabilities."""
    spread = np.log(probabilities.astype(np.float64))
    return float(np.ptp(logits) / np.ptp(spread))
