"""Rounded weights move the mean of a channel; corrected biases move it back, through all layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import (  # type: ignore[import-untyped]  # it has no stubs
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from training.export import bias_correction
from training.export.subgraph import as_far_as

SIDE, CHANNELS, LAYERS = 12, 6, 3


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # it has no stubs
    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._left: Iterator[NDArray[np.uint8]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._left, None)
        return None if image is None else {"image": image[np.newaxis]}


def network() -> ModelProto:
    """Three convolutions with what is never negative between them, as a backbone has."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["wide"], ["x0"], perm=[0, 3, 1, 2]),
    ]
    weights = []
    for number in range(LAYERS):
        shape = (CHANNELS, 3 if number == 0 else CHANNELS, 3, 3)
        scale = 0.002 if number == 0 else 0.2
        weights.append(numpy_helper.from_array((scale * rng.normal(size=shape)).astype(np.float32), f"w{number}"))
        weights.append(numpy_helper.from_array(rng.normal(size=CHANNELS).astype(np.float32), f"b{number}"))
        nodes.append(
            helper.make_node(
                "Conv", [f"x{number}", f"w{number}", f"b{number}"], [f"y{number}"], name=f"backbone/{number}"
            )
        )
        nodes.append(helper.make_node("Relu", [f"y{number}"], [f"x{number + 1}"]))
    side = SIDE - 2 * LAYERS
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(f"x{LAYERS}", TensorProto.FLOAT, ["N", CHANNELS, side, side])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def answers(model: ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": images})[0], np.float64)


@pytest.fixture
def quantised(tmp_path: Path) -> tuple[ModelProto, ModelProto, NDArray[np.uint8]]:
    images = np.random.default_rng(1).integers(0, 255, (24, SIDE, SIDE, 3), dtype=np.uint8)
    onnx.save(network(), tmp_path / "whole.onnx")
    quantize_static(
        str(tmp_path / "whole.onnx"), str(tmp_path / "small.onnx"), _Reader(images[:12]), per_channel=True,
        quant_format=QuantFormat.QDQ, reduce_range=True, weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8, op_types_to_quantize=["Conv"],
    )  # fmt: skip
    return onnx.load(tmp_path / "small.onnx"), network(), images


def test_the_mean_of_every_channel_comes_back_on_photographs_that_were_not_seen(
    quantised: tuple[ModelProto, ModelProto, NDArray[np.uint8]],
) -> None:
    small, whole, images = quantised
    wanted, before = answers(whole, images[12:]), answers(small, images[12:])
    told: list[tuple[int, int]] = []

    bias_correction.correct(small, whole, images[:12], progress=lambda done, total: told.append((done, total)))

    onnx.checker.check_model(small)
    after = answers(small, images[12:])
    off_before, off_after = (
        np.abs(found.mean(axis=(0, 2, 3)) - wanted.mean(axis=(0, 2, 3))) for found in (before, after)
    )
    assert off_after.mean() < off_before.mean() / 3
    assert np.abs(after - wanted).mean() < np.abs(before - wanted).mean()
    assert told == [(done, LAYERS) for done in range(LAYERS + 1)]


def test_a_graph_without_biases_of_32_bits_stays_as_it_is() -> None:
    model = network()
    before = model.SerializeToString(deterministic=True)
    bias_correction.correct(model, network(), [np.zeros((SIDE, SIDE, 3), np.uint8)], progress=lambda *_: None)
    assert model.SerializeToString(deterministic=True) == before


def test_a_part_of_a_graph_holds_what_its_tensors_need_and_answers_alike() -> None:
    model = network()
    part = as_far_as(model, ["y1"])
    assert [node.op_type for node in part.graph.node] == ["Cast", "Transpose", "Conv", "Relu", "Conv"]
    assert {tensor.name for tensor in part.graph.initializer} == {"w0", "b0", "w1", "b1"}
    images = np.random.default_rng(2).integers(0, 255, (2, SIDE, SIDE, 3), dtype=np.uint8)
    rest = as_far_as(model, ["x2"])
    assert np.maximum(answers(part, images), 0.0) == pytest.approx(answers(rest, images))
