"""A part of a graph: what some of its tensors need."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, TensorProto, helper


def as_far_as(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """A model of its own whose outputs are these tensors, each an output of `model` or a float32 tensor inside it.

    Inputs that they do not need are gone. Nothing of `model` is changed.
    """
    graph = model.graph
    made_by = {output: node for node in graph.node for output in node.output}
    needed: set[str] = set()
    waiting = list(tensors)
    while waiting:
        node = made_by.get(waiting.pop())
        if node is not None and node.output[0] not in needed:
            needed.add(node.output[0])
            waiting.extend(node.input)
    nodes = [node for node in graph.node if node.output[0] in needed]
    read = {name for node in nodes for name in node.input}
    known = {output.name: output for output in graph.output}
    return helper.make_model(
        helper.make_graph(
            nodes,
            graph.name,
            [entry for entry in graph.input if entry.name in read],
            [known.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors],
            [tensor for tensor in graph.initializer if tensor.name in read],
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
