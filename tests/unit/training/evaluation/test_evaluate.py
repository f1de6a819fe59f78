"""`amulet evaluate`: the JSON of the contract, figures that can be counted by hand, honest refusals."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score, roc_auc_score

from tests import tiny_archive
from tests.unit.training.evaluation.cast import Colours, write_colours, write_dark
from training.commands.evaluate import evaluate as command
from training.data.errors import FolderMissing
from training.errors import LabelsUnknown, ModelUnreadable
from training.evaluation.evaluate import Evaluation, OutsideSet, evaluate
from training.served.answers import GraphModel


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Colours:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def found(colours: Colours) -> Evaluation:
    return evaluate(GraphModel.open(colours.run, threads=1), colours.data, [OutsideSet("grey", colours.grey)])


def test_the_document_has_every_name_of_the_contract(found: Evaluation, colours: Colours) -> None:
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert document["model"] == tiny_archive.VERSION
    assert document["data"] | {"path": str(colours.data), "photos": 19} == document["data"]
    assert len(document["data"]["fingerprint"]) == 64
    assert set(document["per_class_f1"]) == {"red", "green", "blue"}
    assert document["confusion_matrix"]["labels"] == ["red", "green", "blue"]
    assert document["temperature"] == 1.5
    assert {"accepted", "accepted_accuracy", "prediction_set_coverage", "prediction_set_size"} <= set(
        document["coverage"]
    )
    assert set(document["ood"]["grey"]) == {"auroc", "fpr_at_95_tpr", "rejected", "photos"}
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece", "brier", "nll"):
        low, high = document["intervals"][name]
        assert low <= document[name] <= high
    known = [row for row in document["predictions"] if "set" not in row]
    outside = [row for row in document["predictions"] if "set" in row]
    assert {row["file"] for row in known} >= {"red/front_000.png", "blue/back_999.png"}
    assert all(row["label"] is None and row["set"] == "grey" for row in outside)
    names = {"file", "label", "predicted", "confidence", "verdict", "reasons", "ood_score"}
    assert all(names <= set(row) for row in document["predictions"])
    assert {row["verdict"] for row in document["predictions"]} <= {"IN_DOMAIN", "UNSURE", "OUT_OF_DISTRIBUTION"}


def test_the_one_wrong_label_shows_where_it_should(found: Evaluation) -> None:
    document = found.document()
    # 19 photographs: 6 red, 6 green, 7 "blue" of which one is green.
    assert document["accuracy"] == pytest.approx(18 / 19)
    assert document["balanced_accuracy"] == pytest.approx((1 + 1 + 6 / 7) / 3)
    assert document["confusion_matrix"]["counts"] == [[6, 0, 0], [0, 6, 0], [0, 1, 6]]
    assert document["per_class"]["green"]["precision"] == pytest.approx(6 / 7)
    assert document["per_class"]["blue"]["recall"] == pytest.approx(6 / 7)
    assert document["by_side"]["front"]["accuracy"] == 1.0
    assert document["by_side"]["back"] | {"photos": 10, "accuracy": 0.9} == document["by_side"]["back"]


def test_a_share_of_all_or_of_none_still_leaves_room_for_luck(found: Evaluation) -> None:
    document = found.document()
    assert document["by_side"]["front"]["accuracy"] == document["per_class"]["red"]["recall"] == 1.0
    # Wilson's of 9 of 9 and of 6 of 6.
    assert document["by_side"]["front"]["intervals"]["accuracy"] == pytest.approx([0.701, 1.0], abs=5e-4)
    assert document["per_class"]["red"]["intervals"]["recall"] == pytest.approx([0.610, 1.0], abs=5e-4)
    low, high = document["intervals"]["ood"]["grey"]["fpr_at_95_tpr"]
    assert high - low > 0.4  # of four


def test_figures_agree_with_scikit_learn_on_the_documents_own_predictions(found: Evaluation) -> None:
    document = found.document()
    rows = [row for row in document["predictions"] if row["label"]]
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    names = document["confusion_matrix"]["labels"]
    precision, recall, f1, _photos = precision_recall_fscore_support(labels, predicted, labels=names)
    for number, name in enumerate(names):
        row = document["per_class"][name]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(
            (precision[number], recall[number], f1[number])
        )
    truth = [row["label"] is None for row in document["predictions"]]
    scores = [row["ood_score"] for row in document["predictions"]]
    assert document["ood"]["grey"]["auroc"] == pytest.approx(roc_auc_score(truth, scores))


def test_calibration_and_risk_are_told_in_several_ways(found: Evaluation) -> None:
    document = found.document()
    errors = document["calibration_errors"]
    assert errors["equal_width_15"] == pytest.approx(document["ece"])
    assert {"equal_width_5", "equal_mass_5", "equal_mass_20", "classwise_15"} <= set(errors)
    bins = document["reliability"]
    assert sum(row["photos"] for row in bins) == 19
    assert sum(row["photos"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / 19 == pytest.approx(
        document["ece"]
    )
    curve = document["risk_coverage"]
    assert curve["coverage"][-1] == 1.0
    assert curve["risk"][-1] == pytest.approx(1 / 19)
    assert curve["aurc"] == pytest.approx(np.mean(curve["risk"]))


def test_sets_are_reported_class_by_class_and_add_up(found: Evaluation) -> None:
    document = found.document()
    own = document["per_class"]
    for name, whole in (("set_coverage", "prediction_set_coverage"), ("set_size", "prediction_set_size")):
        mean = sum(own[label][name] * own[label]["photos"] for label in own) / 19
        assert mean == pytest.approx(document["coverage"][whole])
    assert document["coverage"]["prediction_set_promised"] == 0.9


def test_a_dark_photograph_is_told_apart_by_quality(tmp_path: Path) -> None:
    colours = write_colours(tmp_path)
    write_dark(colours.data / "red/front_900.png", "red")
    document = evaluate(GraphModel.open(colours.run, threads=1), colours.data).document()
    assert document["by_quality"]["too dark"]["photos"] == 1
    assert document["by_quality"]["darkest third"]["photos"] >= 6
    assert document["ood"] == {}


def test_a_file_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    colours = write_colours(tmp_path)
    (colours.data / "red/front_901.png").write_bytes(b"no photograph")
    document = evaluate(GraphModel.open(colours.run, threads=1), colours.data).document()
    assert document["data"]["photos"] == 19
    assert [Path(row["file"]).name for row in document["unreadable"]] == ["front_901.png"]


@pytest.mark.parametrize("absent", ["red", "green"])  # a photograph of "blue" is called green
def test_a_class_without_photographs_was_not_measured_and_counts_in_no_average(tmp_path: Path, absent: str) -> None:
    colours = write_colours(tmp_path)
    shutil.rmtree(colours.data / absent)
    page = tmp_path / "page.html"

    document = json.loads(json.dumps(evaluate(GraphModel.open(colours.run, threads=1), colours.data).document()))
    shown = CliRunner().invoke(command, [str(colours.run), str(colours.data), "--html", str(page)]).output

    row = document["per_class"][absent]
    assert {row[name] for name in ("precision", "recall", "f1", "accepted", "set_coverage", "set_size")} == {None}
    assert row["answered"] == (absent == "green")
    assert row["intervals"] == {}
    assert absent not in document["per_class_f1"]
    rows = [row for row in document["predictions"] if row["label"]]
    truth, said = [row["label"] for row in rows], [row["predicted"] for row in rows]
    there = sorted(set(truth))
    assert document["macro_f1"] == pytest.approx(f1_score(truth, said, labels=there, average="macro"))
    assert document["balanced_accuracy"] == pytest.approx(recall_score(truth, said, labels=there, average="macro"))
    low, high = document["intervals"]["macro_f1"]
    assert low <= document["macro_f1"] <= high
    assert f"  F1 {absent:<32} not measured: no photograph" in shown.splitlines()
    assert page.read_text("utf-8").count("not measured") == 1


def test_the_model_says_when_it_has_seen_the_photographs_in_training(tmp_path: Path) -> None:
    colours = write_colours(tmp_path)
    model = GraphModel.open(colours.run, threads=1)
    found = evaluate(model, colours.data)
    assert not found.trained_on
    card = (colours.run / "model.json").read_text("utf-8")
    (colours.run / "model.json").write_text(card.replace(model.card.data.fingerprint, found.fingerprint), "utf-8")
    again = evaluate(GraphModel.open(colours.run, threads=1), colours.data)
    assert again.document()["data"]["seen_in_training"] is True
    assert again.trained_on.said == "19 of 19 photographs were trained on"


def test_a_class_that_an_older_card_spells_apart_is_the_folders(tmp_path: Path) -> None:
    colours = write_colours(tmp_path, per_class=2)
    card = colours.run / "model.json"
    card.write_text(card.read_text("utf-8").replace('"red"', '"re\u0301d"'), "utf-8")
    (colours.data / "red").rename(colours.data / "r\u00e9d")

    document = evaluate(GraphModel.open(colours.run, threads=1), colours.data).document()

    assert document["per_class_f1"]["r\u00e9d"] == 1.0
    assert {row["predicted"] for row in document["predictions"] if row["label"] == "r\u00e9d"} == {"r\u00e9d"}


def test_an_unknown_class_and_empty_folders_are_refused_in_a_sentence(tmp_path: Path) -> None:
    colours = write_colours(tmp_path)
    model = GraphModel.open(colours.run, threads=1)
    (colours.data / "violet").mkdir()
    with pytest.raises(LabelsUnknown, match=r"violet is no class of .*--ood"):
        evaluate(model, colours.data)
    (colours.data / "violet").rmdir()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FolderMissing, match="holds no photograph"):
        evaluate(model, colours.data, [OutsideSet("nothing", tmp_path / "nothing")])
    with pytest.raises(ModelUnreadable, match="there is no model"):
        GraphModel.open(tmp_path / "absent", threads=1)


def test_the_command_prints_the_same_json_that_it_writes(colours: Colours, tmp_path: Path) -> None:
    arguments = [str(colours.run), str(colours.data), "--ood", f"grey={colours.grey}"]
    written = CliRunner().invoke(command, [*arguments, "--json", str(tmp_path / "out.json")])
    printed = CliRunner().invoke(command, [*arguments, "--json", "-"])
    assert (written.exit_code, printed.exit_code) == (0, 0), written.output + printed.output
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == json.loads(printed.stdout)
    assert "balanced_accuracy" in written.stdout


def test_the_command_words_what_is_wrong_in_one_sentence(colours: Colours, tmp_path: Path) -> None:
    wrong = CliRunner().invoke(command, [str(tmp_path / "absent"), str(colours.data)])
    assert wrong.exit_code == 1
    assert "there is no model" in wrong.stderr
    assert "Traceback" not in wrong.output
    twice = ["--ood", f"a={colours.grey}", "--ood", f"a={colours.grey}"]
    assert CliRunner().invoke(command, [str(colours.run), str(colours.data), *twice]).exit_code == 2


@pytest.mark.parametrize("name", [b"grey\xff=", b"grey\xff/"])
def test_a_set_whose_name_is_no_utf_8_is_refused_before_any_work(colours: Colours, name: bytes) -> None:
    """No JSON holds it, and a terminal takes it no more than a page."""
    strange = os.fsdecode(name) + str(colours.grey).lstrip("/")

    done = CliRunner().invoke(command, [str(colours.run), str(colours.data), "--ood", strange, "--json", "-"])

    assert done.exit_code != 0
    assert "UTF-8" in done.stderr
    assert r"grey\udcff" in done.stderr
    assert done.stdout == ""
