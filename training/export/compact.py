"""What a quantised graph says in too many bytes: wide numbers in the tail, the same zeros again and again, long names.

The backbone's arithmetic is in 8 bits already. The detectors' matrices stay factors of float32 products, but are stored
in 8 bits: two nodes whose inputs are constants make them wide again, which onnxruntime does once, when it loads the
graph. What that moves scores by, `quantize` moves the limits by (decision 0107).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

# The tail's matrices that grow with the embedding, and the axis along which their vectors are counted. Not the head:
# it decides, and has 40 kB.
STORED: Final[Mapping[str, int]] = MappingProxyType(
    {
        "within_columns": 1,
        "everything_columns": 1,
        "references_columns": 1,
        "centres_columns": 1,
        "head_weight_last": 0,
    }
)
_TAIL: Final = "tail/"
_LARGEST: Final = 127


def compact(model: ModelProto) -> None:
    """Store the same graph in fewer bytes; the matrices of STORED are rounded, everything else stays as it is."""
    _store_in_eight_bits(model.graph)
    _share_equal(model.graph)
    _shorten_names(model.graph)


def rounded(matrix: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Vectors in 8 bits and what each is multiplied by, [..., 1] along the others: their lengths stay as they are."""
    along = 1 - axis
    largest = np.maximum(np.abs(matrix).max(axis=along, keepdims=True), np.finfo(np.float32).tiny)
    steps = np.rint(matrix / largest * _LARGEST).astype(np.int8)
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=along, keepdims=True)
    stepped = np.linalg.norm(steps.astype(np.float64), axis=along, keepdims=True)
    return steps, (lengths / np.maximum(stepped, 1.0)).astype(np.float32)


def _store_in_eight_bits(graph: GraphProto) -> None:
    wide: list[NodeProto] = []
    for tensor in list(graph.initializer):
        if tensor.name not in STORED:
            continue
        steps, scale = rounded(numpy_helper.to_array(tensor), STORED[tensor.name])
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.extend(
            (numpy_helper.from_array(steps, f"{name}_steps"), numpy_helper.from_array(scale, f"{name}_scale"))
        )
        wide += [
            helper.make_node(
                "Cast", [f"{name}_steps"], [f"{name}_wide"], name=f"{_TAIL}{name}_wide", to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name], name=f"{_TAIL}{name}"),
        ]
    nodes = [*wide, *graph.node]  # what nothing comes before stands first
    del graph.node[:]
    graph.node.extend(nodes)


def _share_equal(graph: GraphProto) -> None:
    """Of initialisers with the same content the first alone: every channel's zero point is 0."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    other: dict[str, str] = {}
    for tensor in list(graph.initializer):
        key = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
        if key in first:
            other[tensor.name] = first[key]
            graph.initializer.remove(tensor)
        else:
            first[key] = tensor.name
    _rename(graph, other)


def _shorten_names(graph: GraphProto) -> None:
    """Of what stands between the backbone's nodes; those of the tail say what they are."""
    kept = {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        if node.name.startswith(_TAIL):
            kept.update((*node.input, *node.output))
    between = dict.fromkeys(
        name for node in graph.node if not node.name.startswith(_TAIL) for name in (*node.input, *node.output) if name
    )
    _rename(graph, {name: f"b{number}" for number, name in enumerate(name for name in between if name not in kept)})


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        for place in (node.input, node.output):
            place[:] = [names.get(name, name) for name in place]
