"""Saliency by captum is the gradient; each method draws maps of its own, and all are measured side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from model_store.card import Card
from tests.tiny_archive import write_run
from tests.unit.training.conftest import SmallRun
from training.commands.explain import explain
from training.errors import ModelUnreadable, SettingWrong
from training.explanation.methods import METHODS, method_of, methods_of
from training.explanation.saliency import gradients, in_squares
from training.fitting.saved import read_network
from training.served.answers import GraphModel


def three_photographs(small_run: SmallRun, model: GraphModel) -> list[np.ndarray]:
    return [model.pixels(path) for path in sorted(small_run.data.glob("*/*.jpg"))[::9]]


def test_a_gradient_is_what_moving_a_pixel_a_little_does_to_the_score(small_run: SmallRun) -> None:
    model = GraphModel.open(small_run.run, threads=1)
    network = read_network(small_run.run)
    (pixels, *_) = three_photographs(small_run, model)
    found = gradients(network, [pixels], np.array([1]))[0]
    assert found.shape == pixels.shape[:2]

    exact = read_network(small_run.run).double()  # float32 is too coarse for so little; more would pass kinks
    image = network.backbone.normalised(torch.from_numpy(pixels[None])).double()[0]
    places = [(10, 10), (48, 48), (70, 20)]
    moved = []
    for row, column in places:
        for channel in range(3):
            for step in (1e-7, -1e-7):
                one = image.clone()
                one[channel, row, column] += step
                moved.append(one)
    with torch.inference_mode():  # all at once: in float64 each of a network's groups costs as much for one as for all
        scores = exact(torch.stack(moved))[:, 1].reshape(len(places), 3, 2).numpy()
    slopes = np.abs(scores[..., 0] - scores[..., 1]) / 2e-7
    for (row, column), of_channels in zip(places, slopes, strict=True):
        assert found[row, column] == pytest.approx(of_channels.max(), rel=1e-3, abs=1e-6)


def test_squares_are_means_and_never_finer_than_pixels() -> None:
    grid = np.arange(16.0).reshape(1, 4, 4)
    assert in_squares(grid, rows=2)[0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert in_squares(grid, rows=3)[0].shape == (2, 2)  # thirds would cut pixels
    assert np.array_equal(in_squares(grid, rows=99), grid)


def test_each_method_draws_a_map_of_its_own_of_the_same_answers(small_run: SmallRun) -> None:
    model = GraphModel.open(small_run.run, threads=1)
    images = three_photographs(small_run, model)
    found = {name: ask(images, -1) for name, ask in methods_of(model, small_run.run).items()}
    assert list(found) == list(METHODS)
    answers = model.answer(images)
    for told, maps in found.values():
        np.testing.assert_allclose(told.probabilities, answers.probabilities, rtol=1e-4, atol=1e-6)
        assert (maps >= 0.0).all()
        assert len(maps) == len(images)
    shapes = {name: maps.shape[1:] for name, (_, maps) in found.items()}
    assert shapes["grad_cam"] == shapes["grad_cam_plus_plus"] == (3, 3)
    assert shapes["saliency"] == (12, 12)
    assert not np.allclose(found["grad_cam"][1], found["grad_cam_plus_plus"][1])
    # The best class is what is explained by default.
    best = int(answers.probabilities[0].argmax())
    saliency = method_of(model, small_run.run, "saliency")
    np.testing.assert_allclose(saliency(images[:1], best)[1], found["saliency"][1][:1], rtol=1e-4)
    assert not np.allclose(saliency(images[:1], (best + 1) % 3)[1], found["saliency"][1][:1])


def test_the_command_draws_by_the_method_asked_for_and_measures_all(small_run: SmallRun, tmp_path: Path) -> None:
    def run(*more: str) -> dict[str, object]:
        arguments = [str(small_run.run), str(small_run.data), "--out", str(tmp_path / "out"), "--sample", "4"]
        done = CliRunner().invoke(explain, [*arguments, "--faithfulness", "2", "--json", *more])
        assert done.exit_code == 0, done.output
        told: dict[str, object] = json.loads(done.stdout)
        return told

    run()
    told = run("--method", "saliency")
    assert told["from_cache"] == 0  # an earlier Grad-CAM of the same photograph is no saliency
    assert set(told["faithfulness_of"]) == set(METHODS)  # type: ignore[call-overload]
    assert told["faithfulness"] == told["faithfulness_of"]["saliency"]  # type: ignore[index]
    document = json.loads((tmp_path / "out" / "explanations.json").read_text("utf-8"))
    assert document["method"] == "saliency"
    assert {np.shape(row["heat_map"]) for row in document["photos"]} == {(12, 12)}
    assert "a small change of the pixels" in (tmp_path / "out" / "index.html").read_text("utf-8")
    assert run("--method", "saliency")["from_cache"] == 4


def test_what_cannot_be_asked_says_what_is_missing(small_run: SmallRun, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    bare = GraphModel.open(tmp_path / "run", threads=1)
    with pytest.raises(ModelUnreadable, match=r"has no checkpoint\.pt, which its network is made from"):
        method_of(bare, tmp_path / "run", "saliency")
    with pytest.raises(ModelUnreadable, match="saliency needs the network of a RUN folder"):
        method_of(bare, tmp_path / "run" / "model.onnx", "saliency")
    with pytest.raises(SettingWrong, match="there is no method lime"):
        method_of(bare, tmp_path / "run", "lime")
    assert list(methods_of(bare, tmp_path / "run")) == ["grad_cam", "grad_cam_plus_plus"]


def test_a_network_is_read_back_as_it_was_written(small_run: SmallRun, tmp_path: Path) -> None:
    model = GraphModel.open(small_run.run, threads=1)
    images = three_photographs(small_run, model)
    network = read_network(small_run.run)
    with torch.inference_mode():
        logits = network(network.backbone.normalised(torch.from_numpy(np.stack(images))))
    card = Card.parse((small_run.run / "model.json").read_bytes())
    chances = torch.softmax(logits / card.temperature, dim=1).numpy()
    np.testing.assert_allclose(chances, model.answer(images).probabilities, atol=1e-4)
    shutil.copytree(small_run.run, tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").unlink()
    with pytest.raises(ModelUnreadable, match="train the run again"):
        read_network(tmp_path / "run")
