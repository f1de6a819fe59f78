"""Backbones that were exported before: tracing a network takes as long as looking at a thousand photographs.

A file is named by the digest of everything that decides the graph, the weights and the exporter's versions and
source among it; one that was cut off or changed is made anew. The same network gives the same bytes, so that a run
does not show whether its graph was kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Final

import onnx
from onnx import ModelProto

from model_store import leftovers
from training import kept as kept_files
from training.models import backbone_graph, backbones
from training.models.backbones import Backbone

_PACKAGES: Final = ("torch", "onnx", "onnxscript", "timm")


def exported(backbone: Backbone, *, input_px: int, kept: Path | None) -> ModelProto:
    """`backbone_graph.export_backbone`, from the folder `kept` where it is there; else it is put there.

    A folder that cannot be read or written keeps nothing, and costs nothing but time.
    """
    if kept is None:
        return backbone_graph.export_backbone(backbone, input_px=input_px)
    file = kept / f"{key_of(backbone, input_px=input_px)}.onnx"
    content = kept_files.read(file)
    if content is not None:
        return onnx.load_from_string(content)
    graph = backbone_graph.export_backbone(backbone, input_px=input_px)
    leftovers.sweep(kept, leftovers.NEW)
    with contextlib.suppress(OSError):
        kept_files.write(file, backbone_graph.to_bytes(graph))
    return graph


def key_of(backbone: Backbone, *, input_px: int) -> str:
    """A name for everything that decides the graph."""
    decided = {
        "network": backbone.spec.name,
        "arithmetic": [backbone.spec.mean, backbone.spec.std],
        "levels": backbone.levels,
        "input_px": input_px,
        "packages": {name: version(name) for name in _PACKAGES},
        "source": [
            hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()
            for module in (backbone_graph, backbones)
        ],
    }
    digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode())
    for name, tensor in backbone.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
