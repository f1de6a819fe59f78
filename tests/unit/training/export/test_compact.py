"""The same graph in fewer bytes: what is rounded moves by a step at most, and nothing else moves."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from training.export.compact import compact, rounded

SIZE, COUNT = 50, 40


def model() -> ModelProto:
    """A backbone of two additions with a zero of its own each, and one matrix of the tail."""
    references = np.random.default_rng(0).normal(size=(SIZE, COUNT)).astype(np.float32)
    references /= np.linalg.norm(references, axis=0)
    zeros = [numpy_helper.from_array(np.zeros(SIZE, np.float32), f"a.long.name.of.zeros.{turn}") for turn in (0, 1)]
    nodes = [
        helper.make_node("Add", ["image", zeros[0].name], ["a.long.name.of.a.sum"], name="backbone/0"),
        helper.make_node("Add", ["a.long.name.of.a.sum", zeros[1].name], ["embedding"], name="backbone/1"),
        helper.make_node("MatMul", ["embedding", "references_columns"], ["cosines"], name="tail/cosines"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", SIZE])],
        [helper.make_tensor_value_info("cosines", TensorProto.FLOAT, ["N", COUNT])],
        [*zeros, numpy_helper.from_array(references, "references_columns")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def answers(served: ModelProto, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(served.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["cosines"], {"image": rows})[0])


def test_answers_stay_and_bytes_go() -> None:
    before, after = model(), model()
    rows = np.random.default_rng(1).normal(size=(5, SIZE)).astype(np.float32)

    compact(after)

    onnx.checker.check_model(after, full_check=True)
    assert after.ByteSize() < before.ByteSize() / 2
    assert answers(after, rows) == pytest.approx(answers(before, rows), abs=0.05)
    assert not np.array_equal(answers(after, rows), answers(before, rows))


def test_what_is_said_twice_is_kept_once_and_the_tail_keeps_its_names() -> None:
    after = model()

    compact(after)

    assert len(after.graph.initializer) == 3  # the zeros, and the matrix as steps and their scale
    assert [node.name for node in after.graph.node][-3:] == ["backbone/0", "backbone/1", "tail/cosines"]
    assert list(after.graph.node[-1].input) == ["embedding", "references_columns"]
    assert max(len(name) for node in after.graph.node[2:4] for name in node.input) <= len("image")


@pytest.mark.parametrize("axis", [0, 1])
def test_rounded_vectors_keep_their_length_and_stay_within_a_step(axis: int) -> None:
    matrix = np.random.default_rng(2).normal(size=(30, 30)).astype(np.float32)
    matrix[:, 3] = matrix[3, :] = 0.0

    steps, scale = rounded(matrix, axis)

    wide = steps * scale
    lengths = np.linalg.norm(matrix, axis=1 - axis)
    assert np.linalg.norm(wide, axis=1 - axis) == pytest.approx(lengths, rel=1e-6, abs=1e-12)
    assert np.abs(wide - matrix).max() <= np.abs(matrix).max() / 127
