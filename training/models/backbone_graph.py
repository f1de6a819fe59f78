"""The backbone alone as an ONNX graph.

Photographs are looked at through it while the rest is fitted, and the rest is then appended to it: what is served
is what was measured with.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Final

import torch
from onnx import ModelProto
from torch import nn

from training.models.backbones import Backbone
from training.models.pair import Pair

OPSET: Final = 18
_IR_VERSION: Final = 10
LAST_MAP: Final = "last_map"


class _Exported(nn.Module):
    def __init__(self, backbone: Backbone | Pair) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen = self.backbone(self.backbone.normalised(image))
        return (*seen.pooled, seen.last_map)


def export_backbone(backbone: Backbone | Pair, *, input_px: int) -> ModelProto:
    """The backbone alone: `image` in, `pooled_LEVEL` [N, channels] and `last_map` out.

    The same network gives the same bytes; nothing of the machine that exported it is inside.
    """
    batch = torch.export.Dim("N", min=1, max=4096)
    example = torch.zeros(2, input_px, input_px, 3, dtype=torch.uint8)
    names = [*(f"pooled_{level}" for level in backbone.levels), LAST_MAP]
    with _quiet():
        # The TorchScript exporter would leave the arithmetic of TensorFlow's padding in the graph.
        program = torch.onnx.export(
            _Exported(backbone),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            input_names=["image"],
            output_names=names,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return _cleaned(program.model_proto)


def to_bytes(model: ModelProto) -> bytes:
    """The same bytes for the same graph."""
    return model.SerializeToString(deterministic=True)


def _cleaned(source: ModelProto) -> ModelProto:
    """Without stack traces, paths, guesses of shapes and names of tools: only what runs."""
    model = ModelProto()
    model.CopyFrom(source)
    model.ir_version = _IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "amulet", "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for number, node in enumerate(graph.node):
        node.doc_string = ""
        node.name = f"backbone/{number}"
        del node.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter narrates on standard output and warns about its own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
