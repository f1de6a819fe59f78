"""A quantised run: the same decisions, smaller, or none."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper
from PIL import Image
from scipy import stats

from handlers.amulet_handler import pixels_of
from model_store import reference
from model_store.card import Card
from tests import tiny_archive
from tests.disks import files_of_at_most
from tests.unit.training.data.cast import picture
from training.commands.export import quantize as command
from training.data.duplicates import groups, near_duplicates
from training.data.folder import Folder, Photo, load_folder
from training.errors import DataTooSmall, LabelsUnknown, ModelUnreadable, ParityBroken
from training.export.comparison import export
from training.export.quantize import (
    Figures,
    Line,
    _every_other,
    _lines,
    _reference_moved,
    check,
    halves,
    lost_at_most,
    quantised,
    quantize,
)
from training.served import learnt
from training.served.answers import Answers, GraphModel


def run_of(folder: Path) -> Path:
    """The tiny run, with its first convolution where a trained run has its backbone."""
    card = tiny_archive.write_run(folder)
    model = onnx.load(str(folder / "model.onnx"))
    for number, node in enumerate(model.graph.node):
        node.name = f"backbone/{number}" if node.op_type == "Conv" else f"tail/{number}"
    graph = model.SerializeToString()
    (folder / "model.onnx").write_bytes(graph)
    digest = hashlib.sha256(graph).hexdigest()
    (folder / "model.json").write_text(card.render().replace(card.graph.sha256, digest))
    return folder


def tiny_card() -> Card:
    with TemporaryDirectory() as folder:
        return tiny_archive.write_run(Path(folder))


def photographs(folder: Path, *, each: int = 8) -> Path:
    for place, colour in enumerate(tiny_archive.CLASSES):
        (folder / colour).mkdir(parents=True)
        for number in range(each):
            # Of the same noise in another colour it would be a copy.
            photo = tiny_archive.photo_of(colour, seed=100 * place + number)
            (folder / colour / f"{number}.png").write_bytes(photo)
    return folder


def others(folder: Path) -> Path:
    folder.mkdir()
    for seed in range(6):
        (folder / f"{seed}.png").write_bytes(tiny_archive.photo_of("grey", seed=seed))
    return folder


def test_a_quantised_run_decides_as_the_one_it_is_from(tmp_path: Path) -> None:
    run, data, outside = run_of(tmp_path / "run"), photographs(tmp_path / "data"), others(tmp_path / "ood")

    card, figures = quantize(run, data, tmp_path / "out", outside=[outside])

    assert (figures.photos, figures.outside) == (12, 3)
    assert (figures.same_best, figures.same_verdict, figures.accuracy_after) == (1.0, 1.0, 1.0)
    assert figures.one_photo_ms_after > 0
    assert card.version == f"{tiny_archive.VERSION}-int8"
    assert card.graph.form == "int8"
    graph = (tmp_path / "out" / "model.onnx").read_bytes()
    assert hashlib.sha256(graph).hexdigest() == card.graph.sha256
    kinds = {node.op_type for node in onnx.load_from_string(graph).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    # Its golden answers are its own: a server that runs it must reproduce them.
    model = GraphModel.open(tmp_path / "out", threads=1)
    for golden in card.golden:
        pixels = pixels_of((tmp_path / "out" / golden.file).read_bytes(), tiny_archive.SIDE_PX, tiny_archive.SIDE_PX)
        assert model.answer([pixels]).probabilities[0].tolist() == pytest.approx(golden.probabilities, abs=1e-6)


def test_limits_and_distributions_move_with_the_scores(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run"), photographs(tmp_path / "data")

    card, _ = quantize(run, data, tmp_path / "out", outside=[others(tmp_path / "ood")])

    before = Card.parse((run / "model.json").read_bytes())
    kept = reference.parse((tmp_path / "out" / "reference.json").read_text()).samples
    known = reference.parse((run / "reference.json").read_text()).samples
    assert kept["confidence"].count == known["confidence"].count
    for old, new in zip(before.decision.limits.detectors, card.decision.limits.detectors, strict=True):
        assert new.typical != old.typical
        assert new.out_at == pytest.approx(old.out_at, rel=0.1)


def test_projections_of_the_embedding_move_with_it() -> None:
    random = np.random.default_rng(3)
    embedding = random.random((40, 6)).astype(np.float32)
    before = Answers(np.ones((40, 1), np.float32), embedding, {})
    lines = _lines(before, Answers(before.probabilities, embedding * 2, {}))
    for name in reference.EMBEDDING:
        assert (lines[name].slope, lines[name].offset) == pytest.approx((2.0, 0.0), abs=5e-3)
    known = reference.build({"embedding_1": [0.0, 0.5, 1.0], "margin": [0.5]}, {})
    moved = reference.parse(_reference_moved(known, {"embedding_1": Line(2.0, 1.0)})).samples
    assert (moved["embedding_1"].range, moved["margin"].range) == ((1.0, 3.0), (0.5, 0.5))


@pytest.mark.parametrize(
    ("same_best", "same_verdict", "holds"), [(0.95, 0.9, True), (0.94, 1.0, False), (1.0, 0.89, False)]
)
def test_a_graph_that_decides_otherwise_is_refused(same_best: float, same_verdict: float, holds: bool) -> None:
    card = tiny_card()
    figures = Figures(100, 20, same_best, same_verdict, 1.0, 1.0, 0.0, 100, 50, 2.0, 1.0)

    if holds:
        check(figures, card)
        return
    with pytest.raises(ParityBroken, match=rf"the same best class for {same_best:.1%} of 100 photographs"):
        check(figures, card)


def test_what_cannot_be_quantised_is_refused(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run"), photographs(tmp_path / "data")
    few = photographs(tmp_path / "few", each=2)
    strange = photographs(tmp_path / "strange")
    (strange / "red").rename(strange / "gold")
    quantize(run, data, tmp_path / "once")

    with pytest.raises(ModelUnreadable, match="is no RUN folder"):
        quantize(tmp_path, data, tmp_path / "out")
    with pytest.raises(ModelUnreadable, match="is int8 already"):
        quantize(tmp_path / "once", data, tmp_path / "out")
    with pytest.raises(LabelsUnknown, match="gold"):
        quantize(run, strange, tmp_path / "out")
    with pytest.raises(DataTooSmall, match="at least 20"):
        quantize(run, few, tmp_path / "out")


def test_every_kind_of_photograph_of_other_things_is_taken(tmp_path: Path) -> None:
    run, data, outside = run_of(tmp_path / "run"), photographs(tmp_path / "data"), others(tmp_path / "ood")
    for file, suffix in zip(sorted(outside.iterdir()), (".JPEG", ".webp", ".jpeg", ".webp"), strict=False):
        with Image.open(file) as image:
            image.save(file.with_suffix(suffix))
        file.unlink()
    _, figures = quantize(run, data, tmp_path / "out", outside=[outside])
    assert figures.outside == 3


def together_in(folder: Folder) -> Sequence[Sequence[Photo]]:
    return groups(folder.photos, near_duplicates(folder.photos))


def test_what_no_head_was_fitted_on_measures_first(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run"), photographs(tmp_path / "data")
    folder = load_folder(data)
    names = [photo.relative for photo in folder.photos]
    calibrating, measuring = halves(folder, GraphModel.open(run, threads=1), together_in(folder))
    assert sorted(photo.relative for photo in measuring) == names[1::2]  # nobody tells: every other one
    held_out = [photo for photo in folder.photos if photo.relative[-5] in "026"]
    fitted = [photo for photo in folder.photos if photo not in held_out]
    told = learnt.document({"train": fitted, "calibration": held_out, "thresholds": []}, [])
    (run / learnt.FILE).write_text(json.dumps(told))

    model = GraphModel.open(run, threads=1)
    calibrating, measuring = halves(folder, model, together_in(folder))

    assert len(measuring) == len(calibrating) == 12
    assert set(held_out) < set(measuring)
    assert {photo.label for photo in measuring[:3]} == set(folder.classes)
    assert sorted(photo.relative for photo in (*calibrating, *measuring)) == names
    few = [photo for photo in folder.photos if photo.relative[-5] not in "0"]  # more than half of a class is new
    told = learnt.document({"train": [photo for photo in folder.photos if photo not in few]}, [])
    (run / learnt.FILE).write_text(json.dumps(told))
    _, measuring = halves(folder, GraphModel.open(run, threads=1), together_in(folder))
    assert sorted(photo.relative for photo in measuring) == names[1::2]


def burst(folder: Path, *, each: int = 6) -> Path:
    """Every photograph three times, one after the other in its folder."""
    for place, colour in enumerate(("red", "green")):
        (folder / colour).mkdir(parents=True)
        for number in range(each):
            for copy in range(3):
                picture(100 * place + number).save(folder / colour / f"{number:02}_{copy}.png")
    return folder


def test_no_copy_of_what_calibrates_measures(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run"), burst(tmp_path / "data")
    folder = load_folder(data)
    calibrating, measuring = halves(folder, GraphModel.open(run, threads=1), together_in(folder))
    names = [{photo.relative.rpartition("_")[0] for photo in half} for half in (calibrating, measuring)]
    assert not names[0] & names[1]
    assert len(measuring) == len(calibrating) == 18
    # The copies of what a head was fitted on are none that it never saw.
    fitted = [photo for photo in folder.photos if photo.relative.endswith("_0.png")]
    (run / learnt.FILE).write_text(json.dumps(learnt.document({"train": fitted}, [])))
    assert halves(folder, GraphModel.open(run, threads=1), together_in(folder)) == (calibrating, measuring)


def test_no_copy_of_other_things_that_move_the_limits_measures(tmp_path: Path) -> None:
    for number in range(4):
        for copy in range(2):
            picture(number).save(tmp_path / f"{number}_{copy}.png")
    files = sorted(tmp_path.glob("*.png"))
    moving, apart = _every_other(files)
    assert [file.name for file in moving] == ["0_0.png", "0_1.png", "2_0.png", "2_1.png"]
    assert [file.name for file in apart] == ["1_0.png", "1_1.png", "3_0.png", "3_1.png"]
    assert _every_other(files[::2]) == (files[::4], files[2::4])  # without copies: every other one


def test_four_photographs_of_one_object_lose_as_one_does() -> None:
    right = np.ones(80, np.bool_)
    lost = right.copy()
    lost[:4] = False
    assert lost_at_most(right, lost, np.repeat(np.arange(20), 4)) == lost_at_most(right[:20], lost[::4])
    assert lost_at_most(right, lost, np.arange(80)) == lost_at_most(right, lost)


def test_no_new_mistake_of_65_leaves_room_for_five_points() -> None:
    right = np.ones(65, np.bool_)
    # Clopper and Pearson's upper end without an event is 1 - 0.025^(1/n).
    assert lost_at_most(right, right) == pytest.approx(1 - 0.025 ** (1 / 65))
    once = right.copy()
    once[3] = False
    assert lost_at_most(right, once) == pytest.approx(stats.beta.ppf(0.975, 2, 64))
    assert lost_at_most(once, right) == pytest.approx(1 - 0.025 ** (1 / 65))  # what is gained makes up for nothing


def test_a_graph_without_a_backbone_has_nothing_to_quantise() -> None:
    model = onnx.load_from_string(tiny_archive.graph_bytes())
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["again"], name="tail/again"))

    with pytest.raises(ModelUnreadable, match="no backbone"):
        quantised(model.SerializeToString(), [])


def test_the_command_prints_what_was_measured(tmp_path: Path) -> None:
    run, data = run_of(tmp_path / "run"), photographs(tmp_path / "data")

    done = CliRunner().invoke(command, [str(run), "--data", str(data), "--json"])

    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["run"] == str(tmp_path / "run-int8")
    assert said["same_best"] == 1.0
    assert (tmp_path / "run-int8" / "quantized.json").exists()


def test_a_disk_that_fills_up_is_named_and_not_the_half_of_a_graph(tmp_path: Path) -> None:
    """onnx writes a graph of its own in between, and does not notice that it is cut off."""
    graph = (run_of(tmp_path / "run") / "model.onnx").read_bytes()
    with files_of_at_most(len(graph) + 100), pytest.raises(OSError, match=r"No space left on device|File too large"):
        quantised(graph, [])


@pytest.mark.parametrize("form", ["static", "dynamic"])
def test_all_that_onnxruntime_writes_for_itself_is_swept_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """It makes folders of its own under TMPDIR, and wrote beside the graph, into the run: a kill left them for ever."""
    run, data, scratch = run_of(tmp_path / "run"), photographs(tmp_path / "data"), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    written: list[Path] = []
    infer, make = onnx.shape_inference.infer_shapes_path, tempfile.mkdtemp

    def inferred(model: str, out: str) -> None:
        written.append(Path(out))
        infer(model, out)

    def made(*arguments: Any, **named: Any) -> str:
        folder = make(*arguments, **named)
        written.append(Path(folder))
        return folder

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes_path", inferred)
    monkeypatch.setattr(tempfile, "mkdtemp", made)

    if form == "static":
        pixels = [
            pixels_of(photo.read_bytes(), tiny_archive.SIDE_PX, tiny_archive.SIDE_PX)
            for photo in sorted(data.rglob("*.png"))
        ]
        quantised((run / "model.onnx").read_bytes(), pixels)
    else:
        export(run, data, tmp_path / "out", forms=["dynamic"])

    assert [path for path in written if path.name.endswith("-inferred.onnx")]
    places = {path.relative_to(scratch).parts[0] for path in written if path.is_relative_to(scratch)}
    assert [place for place in places if not place.startswith("amulet-")] == []
    # Beside it only the new folder, which the next call with that name takes away.
    elsewhere = [path for path in written if not path.is_relative_to(scratch)]
    assert [path for path in elsewhere if not path.name.startswith(".out-")] == []
    assert tempfile.gettempdir() == str(scratch)
