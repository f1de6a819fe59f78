"""Robustness: what is kept, what falls, and whether a fall that the model does not notice is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.unit.training.evaluation.cast import Colours, write_colours
from training.data.errors import PhotoBroken
from training.errors import SettingWrong
from training.evaluation import robustness, robustness_page
from training.evaluation.robustness import Degradation, ModelRobustness
from training.experiments.commands import robustness as command
from training.served.answers import GraphModel
from training.statistics.intervals import Interval


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Colours:
    return write_colours(tmp_path_factory.mktemp("colours"), per_class=4)


@pytest.fixture(scope="module")
def measured(colours: Colours) -> ModelRobustness:
    return robustness.of_model(GraphModel.open(colours.run, threads=1), colours.data)


def test_every_degradation_is_measured_at_five_strengths(measured: ModelRobustness) -> None:
    document = json.loads(json.dumps(measured.document(), allow_nan=False))
    assert len(document["degradations"]) == len(robustness.DEGRADATIONS) == 11
    for curve in document["degradations"].values():
        assert len(curve["levels"]) == 5
        for level in curve["levels"]:
            assert sum(level["verdicts"].values()) == pytest.approx(1.0)
            low, high = level["balanced_accuracy_interval"]
            assert low <= level["balanced_accuracy"] <= high
    assert document["unchanged"]["accuracy"] == pytest.approx(12 / 13)


def test_a_model_of_mean_colours_keeps_what_leaves_them_and_loses_what_does_not(measured: ModelRobustness) -> None:
    curves = {curve.degradation.name: curve for curve in measured.found.curves}
    before = measured.found.unchanged.balanced_accuracy.value
    for name in ("gaussian_blur", "motion_blur", "rotation", "downscale", "jpeg"):
        assert all(level.balanced_accuracy.value == pytest.approx(before) for level in curves[name].levels)
    darkest = curves["dark"].levels[-1]
    assert darkest.verdicts["IN_DOMAIN"] < measured.found.unchanged.verdicts["IN_DOMAIN"]
    assert measured.found.unchanged.flagged < darkest.flagged == 1.0


def test_the_same_seed_measures_the_same_and_one_degradation_as_beside_the_others(
    colours: Colours, measured: ModelRobustness
) -> None:
    model = GraphModel.open(colours.run, threads=1)
    alone = robustness.of_model(model, colours.data, degradations=robustness.chosen(["occlusion"]))
    (curve,) = alone.found.curves
    beside = next(each for each in measured.found.curves if each.degradation.name == "occlusion")
    for one, other in zip(curve.levels, beside.levels, strict=True):
        assert (one.accuracy, one.ece, one.verdicts, one.flagged) == (
            other.accuracy,
            other.ece,
            other.verdicts,
            other.flagged,
        )


def test_accuracy_agrees_with_a_count_by_hand(colours: Colours) -> None:
    def blackened(pixels: np.ndarray, strength: float, _rng: np.random.Generator) -> np.ndarray:
        return np.zeros_like(pixels) if strength else pixels

    black = Degradation("black", "black", "share", (0.0, 0.0, 1.0, 1.0, 1.0), blackened)
    model = GraphModel.open(colours.run, threads=1)
    (curve,) = robustness.of_model(model, colours.data, degradations=(black,)).found.curves
    # Black is one picture and so one answer: right for one class of three.
    assert [round(level.balanced_accuracy.value, 3) for level in curve.levels] == [0.933, 0.933, 0.333, 0.333, 0.333]
    assert curve.levels[-1].flagged == 1.0


def test_what_is_lost_without_notice_is_named_and_what_is_noticed_is_not_blamed(measured: ModelRobustness) -> None:
    curve = measured.found.curves[0]
    unchanged = replace(measured.found.unchanged, accepted_accuracy=1.0, balanced_accuracy=Interval(1.0, 1.0, 1.0))
    bad = replace(curve.levels[0], balanced_accuracy=Interval(0.5, 0.4, 0.6))
    silent = replace(bad, accepted_accuracy=0.5, verdicts={**bad.verdicts, "IN_DOMAIN": 0.9})
    noticed = replace(bad, accepted_accuracy=1.0, verdicts={**bad.verdicts, "IN_DOMAIN": 0.4})
    for level, words in ((silent, "it does not notice"), (noticed, "but it notices")):
        found = replace(measured.found, unchanged=unchanged, curves=(replace(curve, levels=(level,) * 5),))
        assert any(words in sentence for sentence in robustness_page.sentences(found))


def test_the_command_writes_json_and_a_page_that_needs_nothing_else(colours: Colours, tmp_path: Path) -> None:
    page, report = tmp_path / "page.html", tmp_path / "out.json"
    arguments = [str(colours.run), str(colours.data), "--only", "jpeg", "--json", str(report), "--html", str(page)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert list(json.loads(report.read_text("utf-8"))["degradations"]) == ["jpeg"]
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert 'src="http' not in text
    assert text.count("data:image/jpeg") == 5


def test_wrong_names_and_broken_files_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingWrong, match="there is no degradation fog: known are jpeg"):
        robustness.chosen(["fog"])
    colours = write_colours(tmp_path, per_class=1)
    (colours.data / "red/front_900.png").write_bytes(b"no photograph")
    with pytest.raises(PhotoBroken, match=r"front_900\.png"):
        robustness.of_model(GraphModel.open(colours.run, threads=1), colours.data)
