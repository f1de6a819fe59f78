"""The rules of `model.onnx`: one self-contained graph of known operators that fits its card.

A protobuf and ONNX's checker are native parsers, so `model_store.inspection` calls this in
a process of its own with little memory and time. Nothing here runs the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

import onnx
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto

from model_store.card import EXPLANATIONS, Card
from model_store.errors import ArchiveRefused
from model_store.examples import NEAREST_MAX
from protos.amulet.v1 import vocabulary_pb2 as words

Shape: TypeAlias = tuple[str | int, ...]  # a string stands for a size that varies

NODES_MAX: Final = 50_000
IR_VERSIONS: Final = range(8, 14)
# What onnxruntime >= 1.27 runs, per domain.
OPSETS: Final = {"": range(17, 25), "ai.onnx.ml": range(2, 6)}

# Pure functions of their inputs. Left out on purpose: loops and functions (time without bound),
# random numbers (an answer must repeat), strings, sequences and optionals (not needed).
_NUMERIC: Final = """
    Abs Acos Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat
    Constant ConstantOfShape Conv ConvInteger Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity
    InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul
    MatMulInteger Max MaxPool Mean Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul
    QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Sigmoid
    Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh Tile TopK
    Transpose Trilu Unsqueeze Where Xor
"""
_CLASSICAL: Final = """
    ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LabelEncoder LinearClassifier LinearRegressor
    Normalizer Scaler SVMRegressor TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor
"""
OPERATORS: Final = {"": frozenset(_NUMERIC.split()), "ai.onnx.ml": frozenset(_CLASSICAL.split())}


def check_graph(path: Path, card: Card) -> str:
    """Check a model.onnx against the rules and its card; returns one sentence about it.

    Raises ArchiveRefused with REASON_ARCHIVE_GRAPH_INVALID for the first rule that is broken.
    """
    content = path.read_bytes()
    model = _parse(content)
    _check_header(model, card)
    _check_nothing_outside(model)
    nodes = _check_nodes(model.graph)
    try:
        onnx.checker.check_model(content, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise _invalid(f"ONNX's own checker refuses it: {_first_line(error)}") from None
    _check_interface(model.graph, card)
    return f"{nodes} nodes, opset {card.graph.opset}, {len(card.classes)} classes, {', '.join(card.graph.detectors)}"


def inputs_of(card: Card) -> dict[str, tuple[int, Shape]]:
    """Name -> element type and shape of everything that goes in."""
    return {
        "image": (TensorProto.UINT8, ("N", card.input.height_px, card.input.width_px, 3)),
        "target": (TensorProto.INT64, ("N",)),
    }


def outputs_of(card: Card) -> dict[str, tuple[int, Shape]]:
    """Name -> element type and shape of everything that comes out."""
    nearest = ("N", min(NEAREST_MAX, card.examples.count)) if card.examples else ()
    return {
        "logits": (TensorProto.FLOAT, ("N", len(card.classes))),
        "probabilities": (TensorProto.FLOAT, ("N", len(card.classes))),
        "embedding": (TensorProto.FLOAT, ("N", card.graph.embedding_size)),
        **{EXPLANATIONS[name]: (TensorProto.FLOAT, ("N", *card.graph.heat_map)) for name in card.graph.explanations},
        **{f"score_{detector}": (TensorProto.FLOAT, ("N",)) for detector in card.graph.detectors},
        **(
            {"nearest_index": (TensorProto.INT64, nearest), "nearest_cosine": (TensorProto.FLOAT, nearest)}
            if nearest
            else {}
        ),
    }


def _parse(content: bytes) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise _invalid("it is not an ONNX model, or nested too deeply") from None
    return model


def _check_header(model: ModelProto, card: Card) -> None:
    if model.ir_version not in IR_VERSIONS:
        raise _invalid(f"IR version {model.ir_version}; {IR_VERSIONS[0]} to {IR_VERSIONS[-1]} are accepted")
    if model.functions or model.training_info:
        raise _invalid("it defines functions or training steps of its own; inline the functions")
    imported = [(opset.domain if opset.domain != "ai.onnx" else "", opset.version) for opset in model.opset_import]
    for domain, version in imported:
        if domain not in OPSETS:
            raise _invalid(f"the operator domain {domain!r}; only ONNX's own and ai.onnx.ml are accepted")
        if version not in OPSETS[domain]:
            allowed = OPSETS[domain]
            raise _invalid(f"opset {version} of {domain or 'ONNX'}; {allowed[0]} to {allowed[-1]} are accepted")
    if len({domain for domain, _ in imported}) != len(imported):
        raise _invalid("it imports one operator domain twice")
    if dict(imported).get("") != card.graph.opset:
        raise _invalid(f"opset {dict(imported).get('')}, and the card says {card.graph.opset}")


def _check_nothing_outside(model: ModelProto) -> None:
    """No weights in other files, and no fields that this version of ONNX does not know."""
    for message in _messages(model):
        if isinstance(message, TensorProto) and (
            message.data_location != TensorProto.DEFAULT or len(message.external_data)
        ):
            raise _invalid(f"the weights {message.name[:80]!r} lie outside the file; embed them")
        if isinstance(message, SparseTensorProto):
            raise _invalid("it holds sparse weights; store them densely")
        if len(UnknownFieldSet(message)):
            raise _invalid(f"a {message.DESCRIPTOR.name} holds fields that ONNX {onnx.__version__} does not know")


def _messages(message: Message) -> Iterator[Message]:
    """The message and all inside it, without recursion: depth is the sender's choice."""
    waiting = [message]
    while waiting:
        current = waiting.pop()
        yield current
        for field, value in current.ListFields():
            if field.message_type is not None:
                waiting.extend(value if field.is_repeated else (value,))


def _check_nodes(graph: GraphProto) -> int:
    count = 0
    for node in graph.node:
        count += 1
        if count > NODES_MAX:
            raise _invalid(f"more than {NODES_MAX} nodes")
        _check_node(node)
    return count


def _check_node(node: NodeProto) -> None:
    domain = node.domain if node.domain != "ai.onnx" else ""
    if domain not in OPERATORS:
        raise _invalid(f"the operator {domain[:80]}.{node.op_type[:80]}: custom domains are not accepted")
    if node.op_type not in OPERATORS[domain]:
        raise _invalid(f"the operator {node.op_type[:80]} of {domain or 'ONNX'} is not on the list of accepted ones")
    if node.overload or len(node.device_configurations):
        raise _invalid(f"the node {node.name[:80]!r} asks for an overload or a device")
    for attribute in node.attribute:
        if attribute.ref_attr_name or attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            raise _invalid(f"the node {node.name[:80]!r} holds a graph of its own")


def _check_interface(graph: GraphProto, card: Card) -> None:
    initialisers = {tensor.name for tensor in graph.initializer}
    overridable = sorted(initialisers & {value.name for value in graph.input})
    if overridable:
        raise _invalid(f"callers could replace the weights {overridable[0][:80]!r}: take them off the inputs")
    for side, values, wanted in (
        ("input", graph.input, inputs_of(card)),
        ("output", graph.output, outputs_of(card)),
    ):
        found = {value.name: value for value in values}
        if set(found) != set(wanted) or len(found) != len(values):
            raise _invalid(f"its {side}s are {', '.join(found)[:300]}; the card asks for {', '.join(wanted)}")
        for name, (element, shape) in wanted.items():
            _check_value(side, found[name], element, shape)


def _check_value(side: str, value: ValueInfoProto, element: int, shape: Shape) -> None:
    if not value.type.HasField("tensor_type"):
        raise _invalid(f"the {side} {value.name} is no tensor")
    tensor = value.type.tensor_type
    if tensor.elem_type != element:
        found, wanted = (_element_name(kind) for kind in (tensor.elem_type, element))
        raise _invalid(f"the {side} {value.name} is of type {found}; {wanted} is asked for")
    found_shape = tuple(size.dim_value if size.HasField("dim_value") else "N" for size in tensor.shape.dim)
    if found_shape != shape:
        raise _invalid(f"the {side} {value.name} has the shape {_shown(found_shape)}; the card says {_shown(shape)}")


def _element_name(element: int) -> str:
    return TensorProto.DataType.Name(element).lower() if element in TensorProto.DataType.values() else str(element)


def _shown(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _invalid(message: str) -> ArchiveRefused:
    return ArchiveRefused(words.REASON_ARCHIVE_GRAPH_INVALID, f"model.onnx: {message}")
