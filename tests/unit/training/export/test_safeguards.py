"""What detectors and heat maps add is measured: more of them take more."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.unit.training.conftest import SmallRun
from training.export.safeguards import added_share


def test_more_behind_the_heat_map_is_a_larger_share(small_run: SmallRun) -> None:
    graph = onnx.load(str(small_run.run / "model.onnx"))
    side = graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    images = np.random.default_rng(0).integers(0, 255, (2, side, side, 3), dtype=np.uint8)
    before = added_share(graph, images, turns=30)

    dearer = onnx.ModelProto()
    dearer.CopyFrom(graph)
    embedding = next(output for output in dearer.graph.output if output.name == "embedding")
    size = embedding.type.tensor_type.shape.dim[1].dim_value
    dearer.graph.initializer.append(numpy_helper.from_array(np.ones((size, 6000), np.float32), "dear"))
    dearer.graph.node.append(helper.make_node("MatMul", ["embedding", "dear"], ["dear_products"], name="tail/dear"))
    dearer.graph.output.append(helper.make_tensor_value_info("dear_products", onnx.TensorProto.FLOAT, ["N", 6000]))
    after = added_share(dearer, images, turns=30)

    assert 0.0 < before < after < 1.0
