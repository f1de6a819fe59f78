"""A backbone is exported once: its graph is found again by everything that decides it, and only whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from onnx import ModelProto

from training.models.backbone_graph import to_bytes
from training.models.backbones import Backbone, spec_of
from training.models.kept_graphs import exported, key_of

SIDE_PX = 32


def network() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Backbone(spec_of("small_cnn"), ("head",)).eval().requires_grad_(False)


def test_the_second_time_the_file_answers_and_one_that_was_cut_off_does_not(tmp_path: Path) -> None:
    kept = tmp_path / "state" / "exports"
    first = exported(network(), input_px=SIDE_PX, kept=kept)
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    other = ModelProto(ir_version=10, producer_name="another").SerializeToString()

    file.write_bytes(hashlib.sha256(other).digest() + other)
    assert exported(network(), input_px=SIDE_PX, kept=kept).producer_name == "another"

    file.write_bytes(whole[:-1])
    again = exported(network(), input_px=SIDE_PX, kept=kept)
    assert to_bytes(again) == to_bytes(first) == whole[32:]
    assert [path.read_bytes() for path in kept.iterdir()] == [whole]


def test_other_weights_sizes_and_levels_have_other_names() -> None:
    changed = network()
    with torch.no_grad():
        next(iter(changed.parameters())).flatten()[0] += 1.0
    deeper = Backbone(spec_of("small_cnn"), ("block1", "head"))
    deeper.load_state_dict(network().state_dict())

    keys = {
        key_of(network(), input_px=SIDE_PX),
        key_of(network(), input_px=2 * SIDE_PX),
        key_of(changed, input_px=SIDE_PX),
        key_of(deeper, input_px=SIDE_PX),
    }

    assert len(keys) == 4
    assert key_of(network(), input_px=SIDE_PX) in keys


def test_a_place_that_keeps_nothing_stops_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    graph = exported(network(), input_px=SIDE_PX, kept=tmp_path / "file" / "exports")

    assert graph.graph.input[0].name == "image"
