"""A fine-tuned network goes the same way as a frozen one: the same graph, the same card, the same limits."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_store import graph_rules
from tests.unit.training.data.cast import write_folder
from training import pipeline
from training.data.folder import load_folder
from training.errors import SettingWrong, WeightsMissing
from training.evaluation.answers import GraphModel
from training.fitting.recipe import Recipe, recipe_of, with_settings


def tiny(**changes: object) -> Recipe:
    tuning = {"head_epochs": 1, "epochs": 1, "unfrozen": 9, "learn_norms": True, "batch": 8}
    settings = {"backbone": "small_cnn", "tuning": tuning, "input_px": 64, "views": 1, "forest_trees": 5, **changes}
    return with_settings(recipe_of("finetuned"), settings)


def request_of(root: Path, recipe: Recipe) -> pipeline.Request:
    created_at = datetime(2026, 11, 25, 12, tzinfo=UTC)
    return pipeline.Request(root / "data", root / "run", recipe, seed=3, name="fruit", folds=2, created_at=created_at)


@pytest.mark.timeout(900)
def test_a_network_from_nothing_ends_in_the_graph_that_is_served(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"apple": 6, "berry": 6})
    run = pipeline.train(request_of(tmp_path, tiny()))
    model = GraphModel.open(run.path, threads=1)
    assert model.card.training.config["tuning"]["epochs"] == 1
    assert model.card.weights.source == "none: random numbers"
    assert "small_cnn" in model.card.version
    assert run.parity.holds
    graph_rules.check_graph(run.path / "model.onnx", model.card)
    answers = model.answer([model.pixels(load_folder(tmp_path / "data").photos[0].path)])
    assert answers.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    course = json.loads((run.path / "tuning.json").read_text("utf-8"))
    assert [epoch["stage"] for epoch in course["epochs"]] == ["start", "head", "blocks"]
    assert "How its network learnt" in (run.path / "report.html").read_text("utf-8")
    # What an interrupted run would go on from is gone.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]


def test_what_cannot_be_trained_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"apple": 6, "berry": 6})
    with pytest.raises(SettingWrong, match="the head neighbours is no part of a graph"):
        pipeline.train(request_of(tmp_path, recipe_of("neighbours")))
    with pytest.raises(WeightsMissing, match="small_cnn has no pretrained weights and cannot stay frozen"):
        pipeline.train(request_of(tmp_path, with_settings(recipe_of("standard"), {"backbone": "small_cnn"})))
    with pytest.raises(SettingWrong, match="'Job 12' is no suffix of a version name"):
        pipeline.train(replace(request_of(tmp_path, recipe_of("standard")), suffix="Job 12"))
    assert not (tmp_path / "run").exists()


def test_settings_of_tuning_are_checked_by_name() -> None:
    with pytest.raises(SettingWrong, match="did you mean epochs"):
        tiny(tuning={"epoch": 3})
    with pytest.raises(
        SettingWrong, match=r"tuning\.sampler must be variance or loss or balanced or as_given, not fair"
    ):
        tiny(tuning={"sampler": "fair"})
    with pytest.raises(SettingWrong, match=r"tuning\.watch_share must lie between 0 and 0\.5"):
        tiny(tuning={"watch_share": 0.7})
    with pytest.raises(SettingWrong, match="tuning must be a mapping"):
        tiny(tuning=3)
    assert with_settings(recipe_of("finetuned"), {"tuning": None}).tuning is None
    assert with_settings(recipe_of("standard"), {"tuning": {"epochs": 3}}).document()["tuning"]["epochs"] == 3
