"""Graphs that reach outside, or are not what the card says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from model_store.card import Card
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.unit.model_store.hostile import Cases, Material, changed_graph, with_graph

cases: Final = Cases()


@cases.refused_for(words.REASON_ARCHIVE_GRAPH_INVALID)
def graph_cut_off(m: Material) -> bytes:
    return with_graph(m, tiny_archive.graph_bytes()[:-40])


@cases.refused_for(words.REASON_ARCHIVE_GRAPH_INVALID)
def graph_of_noise(m: Material) -> bytes:
    return with_graph(m, b"\x08\x0a" + np.random.default_rng(3).bytes(4000))


@cases.refused_for(words.REASON_ARCHIVE_GRAPH_INVALID)
def graph_nested_without_end(m: Material) -> bytes:
    """Graphs in attributes (6) of nodes' attribute lists (5) of graphs' node lists (1), 10,000 deep."""
    inner = b""
    for _ in range(10_000):
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            inner = tag + _varint(len(inner)) + inner
    return with_graph(m, b"\x08\x0a\x3a" + _varint(len(inner)) + inner)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location="../../../../etc/passwd", offset=0, length=64)
    tensor.ClearField("raw_data")


def _external_in_an_attribute(model: onnx.ModelProto) -> None:
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "outside")
    onnx.external_data_helper.set_external_data(tensor, location="/etc/passwd")
    tensor.ClearField("raw_data")
    model.graph.node.append(helper.make_node("Constant", [], ["outside"], value=tensor))


def _branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["one"], value_float=1.0)],
        "inner",
        [],
        [helper.make_tensor_value_info("one", TensorProto.FLOAT, [])],
    )
    model.graph.node.append(helper.make_node("If", ["unnamed"], ["either"], then_branch=inner, else_branch=inner))


def _custom_function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function(
            "", "Softmax", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], [helper.make_opsetid("", 18)]
        )
    )


def _sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0]),
            helper.make_tensor("at", TensorProto.INT64, [1], [0]),
            [4],
        )
    )


def _operator(name: str, domain: str = "", **attributes: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node(name, ["logits"], ["more"], domain=domain, **attributes))
        if domain not in {opset.domain for opset in model.opset_import}:
            model.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def _output(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    return next(value for value in model.graph.output if value.name == name)


def _opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def _changed(m: Material, change: Callable[[onnx.ModelProto], Any]) -> bytes:
    return with_graph(m, changed_graph(change))


def _no_graph(model: onnx.ModelProto) -> None:
    model.ClearField("graph")
    model.doc_string = "nothing here"


_GRAPHS: dict[str, Callable[[onnx.ModelProto], Any]] = {
    "weights_from_the_file_system": _external,
    "constant_from_the_file_system": _external_in_an_attribute,
    "operator_of_a_custom_domain": _operator("Shell", "com.example"),
    "operator_of_a_vendor": _operator("FusedMatMul", "com.microsoft"),
    "operator_of_training": _operator("Adam", "ai.onnx.preview.training"),
    "operator_that_does_not_exist": _operator("Shell"),
    "random_numbers": _operator("RandomNormalLike"),
    "branch": _branch,
    "function_in_place_of_an_operator": _custom_function,
    "sparse_weights": _sparse,
    "opset_of_the_past": _opset(9),
    "opset_of_the_future": _opset(40),
    "opset_other_than_the_cards": _opset(19),
    "domain_twice": lambda model: model.opset_import.append(helper.make_opsetid("ai.onnx", 18)),
    "custom_domain_imported": lambda model: model.opset_import.append(helper.make_opsetid("com.example", 1)),
    "format_of_the_past": lambda model: setattr(model, "ir_version", 3),
    "no_heat_map": lambda model: model.graph.output.remove(_output(model, "heatmap")),
    "one_output_more": lambda model: model.graph.output.append(
        helper.make_tensor_value_info("warm", TensorProto.FLOAT, ["N", 3])
    ),
    "one_input_more": lambda model: model.graph.input.append(
        helper.make_tensor_value_info("secret", TensorProto.FLOAT, ["N"])
    ),
    "weights_that_callers_may_replace": lambda model: model.graph.input.append(
        helper.make_tensor_value_info("head", TensorProto.FLOAT, [3, 6])
    ),
    "batch_of_one_only": lambda model: setattr(_output(model, "logits").type.tensor_type.shape.dim[0], "dim_value", 1),
    "another_number_of_classes": lambda model: setattr(
        _output(model, "probabilities").type.tensor_type.shape.dim[1], "dim_value", 4
    ),
    "another_type_of_answer": lambda model: setattr(
        _output(model, "logits").type.tensor_type, "elem_type", TensorProto.DOUBLE
    ),
    "another_size_of_photograph": lambda model: setattr(
        model.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 128
    ),
    "nodes_in_no_order": lambda model: model.graph.node.insert(0, model.graph.node.pop()),
    "input_from_nowhere": lambda model: model.graph.node[0].input.__setitem__(0, "nothing"),
    "attribute_of_no_operator": lambda model: model.graph.node[0].attribute.append(helper.make_attribute("evil", 1)),
    "weights_shorter_than_their_shape": lambda model: model.graph.initializer[1].dims.__setitem__(0, 4096),
    "no_graph": _no_graph,
}
for _key, _change in _GRAPHS.items():
    cases.add(f"graph_with_{_key}", words.REASON_ARCHIVE_GRAPH_INVALID, partial(_changed, change=_change))


@cases.refused_for(words.REASON_ARCHIVE_GRAPH_INVALID)
def graph_with_fields_that_nobody_knows(m: Material) -> bytes:
    stowaway = m.python
    return with_graph(m, tiny_archive.graph_bytes() + b"\xfa\x3f" + _varint(len(stowaway)) + stowaway)


@cases.refused_for(words.REASON_ARCHIVE_GRAPH_INVALID)
def graph_of_another_embedding(m: Material) -> bytes:
    return with_graph(
        m,
        tiny_archive.graph_bytes(),
        lambda card: replace(card, graph=replace(card.graph, embedding_size=7)),
    )


@cases.refused_for(words.REASON_ARCHIVE_GRAPH_INVALID)
def graph_without_a_detector_of_the_card(m: Material) -> bytes:
    def change(card: Card) -> Card:
        limits = card.decision.limits
        one = replace(limits, detectors=limits.detectors[:1])
        golden = tuple(replace(item, scores={"mahalanobis": item.scores["mahalanobis"]}) for item in card.golden)
        return replace(
            card,
            graph=replace(card.graph, detectors=("mahalanobis",)),
            decision=replace(card.decision, limits=one),
            golden=golden,
        )

    return with_graph(m, tiny_archive.graph_bytes(), change)


CASES: Final = cases.table
