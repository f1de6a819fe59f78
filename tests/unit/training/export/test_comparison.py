"""The forms of a run, measured: each answers as the graph does, and the figures are of the file that is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from tests.unit.training.conftest import SmallRun
from tests.unit.training.export.test_quantize import others, photographs, run_of
from training.commands.export import export as command
from training.commands.export import quantize as quantize_command
from training.data import duplicates
from training.data.folder import Photo, load_folder
from training.data.prints import Prints, prints_of
from training.errors import DataTooSmall, ModelUnreadable, SettingWrong
from training.export import torchscript
from training.export.comparison import PARTS, export, part_of_node, quantised
from training.served.answers import GraphModel


def test_the_forms_of_a_run_are_written_and_measured_on_what_nothing_was_calibrated_on(tmp_path: Path) -> None:
    run, data, outside = run_of(tmp_path / "run"), photographs(tmp_path / "data"), others(tmp_path / "ood")
    out = tmp_path / "forms"
    asked = ["--format", "int8", "--format", "dynamic", "--ood", str(outside)]
    done = CliRunner().invoke(command, [str(run), "--data", str(data), "--out", str(out), *asked, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document == json.loads((out / "forms.json").read_text())
    assert "Where a photograph's time goes" in (out / "forms.html").read_text("utf-8")
    assert [form["name"] for form in document["forms"]] == ["onnx", "int8", "dynamic"]
    assert document["photos"] == len(load_folder(data).photos) // 2
    for form in document["forms"]:
        file = out / form["path"]
        assert form["file_bytes"] == file.stat().st_size
        assert form["p50_ms"] <= form["p95_ms"] <= form["p99_ms"]
        assert form["peak_mib"] > 10.0
        assert sum(form["shares"].values()) == pytest.approx(1.0)
        low, high = form["accuracy_lost_interval"]
        assert low <= form["accuracy_lost"] <= high
    assert document["forms"][0]["accuracy_lost"] == 0.0
    assert GraphModel.open(out / "int8", threads=1).card.graph.form == "int8"
    assert ("onnx on CUDA" in document["refused"]) == (
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
    )
    # A second time in its own place, and never over something else.
    export(run, data, out, forms=["onnx"])
    assert sorted(path.name for path in out.iterdir()) == ["forms.json", "model.json", "model.onnx"]
    with pytest.raises(SettingWrong, match="holds something else"):
        export(run, data, data, forms=["onnx"])


def test_what_onnxruntime_advises_its_own_callers_is_not_said_to_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(run_of(tmp_path / "run"), photographs(tmp_path / "data"), tmp_path / "out", forms=["dynamic"])
    assert [record.message for record in caplog.records] == []


def test_a_quantised_run_comes_with_a_page_of_both_forms_on_wish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, data, outside = run_of(tmp_path / "run"), photographs(tmp_path / "data"), others(tmp_path / "ood")
    html = tmp_path / "int8.html"
    arguments = [str(run), "--data", str(data), "--ood", str(outside), "--out", str(tmp_path / "int8")]
    looked_through: Counter[int] = Counter()

    def counted(photos: Sequence[Photo]) -> Prints:
        looked_through[len(photos)] += 1
        return prints_of(photos)

    monkeypatch.setattr(duplicates, "prints_of", counted)
    done = CliRunner().invoke(quantize_command, [*arguments, "--html", str(html)])
    assert done.exit_code == 0, done.output
    labelled, strange = len(list(data.rglob("*.png"))), len(list(outside.rglob("*.png")))
    assert looked_through == {labelled: 1, strange: 1}  # half a minute for two thousand photographs, once
    found = quantised(run, tmp_path / "int8", data)
    assert [form.name for form in found.forms] == ["onnx", "int8"]
    assert [form.file_bytes for form in found.forms] == [
        (place / "model.onnx").stat().st_size for place in (run, tmp_path / "int8")
    ]
    told = json.loads((tmp_path / "int8" / "quantized.json").read_text("utf-8"))
    assert found.forms[1].accuracy == pytest.approx(told["accuracy_after"])
    page = html.read_text("utf-8")
    assert f"{found.forms[1].file_bytes / 1e6:.1f} MB" in page
    assert "Where a photograph" in page
    assert "forms.json" not in page


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    with pytest.raises(DataTooSmall, match="photographs to measure on"):
        export(run, photographs(tmp_path / "few", each=2), tmp_path / "out", forms=["onnx"])
    with pytest.raises(ModelUnreadable, match=r"has no checkpoint\.pt"):
        export(run, photographs(tmp_path / "data"), tmp_path / "out", forms=["torchscript"])
    with pytest.raises(ModelUnreadable, match="is no RUN folder"):
        export(tmp_path / "data", tmp_path / "data", tmp_path / "out", forms=["onnx"])
    assert not (tmp_path / "out").exists()


def test_torchscript_answers_as_the_graph_does(small_run: SmallRun, tmp_path: Path) -> None:
    model = GraphModel.open(small_run.run, threads=1)
    images = [model.pixels(photo.path) for photo in load_folder(small_run.data).photos[:5]]
    torchscript.write(small_run.run, model.card, tmp_path / "model.pt")
    with torch.inference_mode():
        probabilities, embedding = torch.jit.load(str(tmp_path / "model.pt"))(torch.from_numpy(np.stack(images)))  # type: ignore[no-untyped-call]
    answers = model.answer(images)
    np.testing.assert_allclose(probabilities, answers.probabilities, atol=1e-4)
    np.testing.assert_allclose(embedding, answers.embedding, atol=1e-4)


def test_every_node_of_a_graph_is_for_something(small_run: SmallRun) -> None:
    graph = onnx.load(str(small_run.run / "model.onnx")).graph
    part_of = part_of_node(graph)
    assert set(part_of) == {node.name for node in graph.node}
    assert set(part_of.values()) == set(PARTS)
    assert part_of["tail/detector_products"] == "out of distribution"
    assert part_of["tail/map_weights"] == "heat map"
    assert part_of["tail/logits"] == part_of["tail/embedding"] == "head"
    assert all(part == "backbone" for name, part in part_of.items() if name.startswith("backbone/"))
