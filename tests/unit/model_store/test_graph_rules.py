"""Good graphs in their variety are accepted; `hostile/graphs.py` has the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model_store.card import Card
from model_store.errors import ArchiveRefused
from model_store.graph_rules import OPERATORS, check_graph


@pytest.fixture
def card(good: dict[str, bytes]) -> Card:
    return Card.parse(good["model.json"])


def _batch_of_another_name(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _domain_spelt_out(model: onnx.ModelProto) -> None:
    model.opset_import[0].domain = "ai.onnx"


def _outputs_in_another_order(model: onnx.ModelProto) -> None:
    outputs = list(model.graph.output)[::-1]
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def _trees(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    model.graph.node.append(
        helper.make_node(
            "TreeEnsembleRegressor",
            ["embedding"],
            ["leaf"],
            domain="ai.onnx.ml",
            n_targets=1,
            nodes_falsenodeids=[2, 0, 0],
            nodes_featureids=[0, 0, 0],
            nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
            nodes_nodeids=[0, 1, 2],
            nodes_treeids=[0, 0, 0],
            nodes_truenodeids=[1, 0, 0],
            nodes_values=[0.5, 0.0, 0.0],
            target_ids=[0, 0],
            target_nodeids=[1, 2],
            target_treeids=[0, 0],
            target_weights=[0.25, 0.75],
        )
    )


def _eight_bit_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.array(0.1, np.float32), "step"),
            onnx.numpy_helper.from_array(np.array(0, np.int8), "middle"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["logits", "step", "middle"], ["rounded"]),
            helper.make_node("DequantizeLinear", ["rounded", "step", "middle"], ["again"]),
        ]
    )


def _notes(model: onnx.ModelProto) -> None:
    model.producer_name = "someone"
    model.doc_string = "made by hand"
    model.metadata_props.add(key="licence", value="Apache-2.0")


@pytest.mark.parametrize(
    "change",
    [
        _batch_of_another_name,
        _domain_spelt_out,
        _outputs_in_another_order,
        _trees,
        _eight_bit_weights,
        _notes,
    ],
)
def test_a_graph_of_the_contract_is_accepted(
    change: Callable[[onnx.ModelProto], None], good: dict[str, bytes], card: Card, tmp_path: Path
) -> None:
    model = onnx.load_from_string(good["model.onnx"])
    change(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert "opset 18" in check_graph(path, card)


def test_a_shape_that_is_not_declared_is_refused(good: dict[str, bytes], card: Card, tmp_path: Path) -> None:
    model = onnx.load_from_string(good["model.onnx"])
    score = next(value for value in model.graph.output if value.name == "score_mahalanobis")
    score.CopyFrom(helper.make_tensor_value_info("score_mahalanobis", TensorProto.FLOAT, None))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArchiveRefused, match="shape"):
        check_graph(path, card)


def test_the_operators_that_training_exports_are_accepted() -> None:
    """What skl2onnx makes of an IsolationForest, which no one wrote by hand."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import IsolationForest

    rows = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    exported = to_onnx(IsolationForest(n_estimators=3).fit(rows), rows, target_opset={"": 18, "ai.onnx.ml": 3})
    used = {(node.domain, node.op_type) for node in exported.graph.node}
    assert {(domain, name) for domain, name in used if name not in OPERATORS[domain]} == set()
