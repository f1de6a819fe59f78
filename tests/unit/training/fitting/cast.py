"""A backbone of four nodes in place of the real one: mean colours of a photograph's sixteen fields."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIDE_PX = 32
CHANNELS = 48


def colour_graph() -> bytes:
    """In the form of `export_backbone`: uint8 `image` [N, 32, 32, 3] in, `pooled_head` [N, 48] out."""
    constants = {"scale": np.float32(1 / 255), "flat": np.array([0, CHANNELS], np.int64)}
    nodes = [
        helper.make_node("Cast", ["image"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["as_float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["fields"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["fields", "flat"], ["pooled_head"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        inputs=[helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE_PX, SIDE_PX, 3])],
        outputs=[helper.make_tensor_value_info("pooled_head", TensorProto.FLOAT, ["N", CHANNELS])],
        initializer=[numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())
