"""A fine-tuned network goes the same way as a frozen one: the same graph, the same card, the same limits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner

from model_store import graph_rules
from tests.unit.training.data.cast import write_folder
from training import pipeline
from training.commands.train import train
from training.data.folder import load_folder
from training.errors import SettingWrong, WeightsMissing
from training.fitting import checkpoints
from training.fitting.recipe import Recipe, recipe_of, with_settings
from training.served.answers import GraphModel

ROOT = Path(__file__).parents[4]

# Its command says what is being done once a second at most.
AGAIN = """
import sys
from pathlib import Path
from training import pipeline, reproduction
card, data, out = map(Path, sys.argv[1:])
request = reproduction.request_of(reproduction.card_at(card), data, out)
pipeline.train(request, say=lambda *what: print(*what, flush=True))
"""


def tiny(**changes: object) -> Recipe:
    tuning = {"head_epochs": 1, "epochs": 1, "unfrozen": 9, "learn_norms": True, "batch": 8}
    settings = {"backbone": "small_cnn", "tuning": tuning, "input_px": 64, "views": 1, "forest_trees": 5, **changes}
    return with_settings(recipe_of("finetuned"), settings)


def request_of(root: Path, recipe: Recipe) -> pipeline.Request:
    created_at = datetime(2026, 11, 25, 12, tzinfo=UTC)
    return pipeline.Request(root / "data", root / "run", recipe, seed=3, name="fruit", folds=2, created_at=created_at)


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


def test_one_made_from_its_card_and_killed_on_the_way_ends_as_the_same_files(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", {"apple": 6, "berry": 6})
    tuning = {"head_epochs": 1, "epochs": 2, "unfrozen": 9, "learn_norms": True, "batch": 8}
    run = pipeline.train(request_of(tmp_path, tiny(tuning=tuning))).path
    out = tmp_path / "again"
    arguments = [str(data), "--out", str(out), "--from-card", str(run), "--runs", "none", "--exports", "none"]
    command = [sys.executable, "-c", AGAIN, str(run), str(data), str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        epochs = (line for line in child.stdout if line.startswith("Fine-tuning"))
        assert len(list(islice(epochs, 5))) == 5  # three of the first network, two of the second
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not out.exists()
    states = [checkpoints.read(path) for path in sorted((tmp_path / ".again.tuning").iterdir())]
    assert sorted(state["finished"] for state in states if state is not None) == [False, True]
    result = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "The same version as the card's, bit for bit." in result.stderr
    names = sorted(path.name for path in run.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    assert [name for name in names if (run / name).read_bytes() != (out / name).read_bytes()] == []


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
