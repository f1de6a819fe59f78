"""A training run small enough for a unit test, with a real graph, and the keys of its people."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from PIL import Image

from model_store import contents, reference
from model_store.archive import ArchiveSummary, build
from model_store.card import (
    Card,
    ClassCard,
    DataCard,
    DecisionCard,
    GoldenCard,
    GraphCard,
    InputCard,
    MetricCard,
    SplitCard,
    TrainingCard,
    WeightsCard,
    version_name,
)
from protos.verdict import DecisionLimits, DetectorLimits

CLASSES = ("coin", "leaf", "tablet")
SIDE_PX = 32
HEAT_MAP = (4, 4)
EMBEDDING = 3
OPSET = 18
CREATED_AT = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[3]
HANDLER = ROOT / "handlers" / "amulet_handler.py"
STUB = ROOT / "protos" / "amulet" / "graph" / "v1" / "graph_pb2.py"


def tiny_graph() -> onnx.ModelProto:
    """Mean colour, a linear head, two detectors and a heat map: every output of the contract."""
    rng = np.random.default_rng(7)
    weights = rng.normal(size=(EMBEDDING, len(CLASSES))).astype(np.float32)

    def constant(name: str, value: np.ndarray) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(value, name)

    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "white"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "rows_and_columns"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["tempered"]),
        helper.make_node("Softmax", ["tempered"], ["probabilities"], axis=1),
        helper.make_node("ReduceSumSquare", ["embedding", "last"], ["score_mahalanobis"], keepdims=0),
        helper.make_node(
            "TreeEnsembleRegressor",
            ["embedding"],
            ["leaf"],
            domain="ai.onnx.ml",
            n_targets=1,
            nodes_falsenodeids=[2, 0, 0],
            nodes_featureids=[0, 0, 0],
            nodes_hitrates=[1.0, 1.0, 1.0],
            nodes_missing_value_tracks_true=[0, 0, 0],
            nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
            nodes_nodeids=[0, 1, 2],
            nodes_treeids=[0, 0, 0],
            nodes_truenodeids=[1, 0, 0],
            nodes_values=[0.5, 0.0, 0.0],
            target_ids=[0, 0],
            target_nodeids=[1, 2],
            target_treeids=[0, 0],
            target_weights=[0.25, 0.75],
        ),
        helper.make_node("Reshape", ["leaf", "flat"], ["score_isolation_forest"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Gather", ["bias", "target"], ["lift"], axis=0),
        helper.make_node("Reshape", ["lift", "column"], ["lift_column"]),
        helper.make_node("ReduceMean", ["cells", "plane"], ["grey"], keepdims=0),
        helper.make_node("Add", ["grey", "lift_column"], ["heatmap"]),
    ]
    outputs: dict[str, list[str | int | None]] = {
        "logits": ["N", len(CLASSES)],
        "probabilities": ["N", len(CLASSES)],
        "embedding": ["N", EMBEDDING],
        "score_mahalanobis": ["N"],
        "score_isolation_forest": ["N"],
        "heatmap": ["N", *HEAT_MAP],
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE_PX, SIDE_PX, 3]),
            helper.make_tensor_value_info("target", TensorProto.INT64, ["N"]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [
            constant("white", np.array(255.0, np.float32)),
            constant("temperature", np.array(1.5, np.float32)),
            constant("weights", weights),
            constant("rows_and_columns", np.array([1, 2], np.int64)),
            constant("last", np.array([1], np.int64)),
            constant("plane", np.array([1], np.int64)),
            constant("flat", np.array([-1], np.int64)),
            constant("column", np.array([-1, 1, 1], np.int64)),
            constant("bias", np.array([0.1, 0.2, 0.3, 0.0], np.float32)),
        ],
    )
    return helper.make_model(
        graph,
        ir_version=9,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)],
    )


def photograph(seed: int = 11) -> bytes:
    """A PNG at the model's size."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def reference_text() -> str:
    rng = np.random.default_rng(5)
    return reference.build(
        {
            "confidence": rng.uniform(0.4, 1.0, 60).tolist(),
            "score_mahalanobis": rng.normal(10, 2, 60).tolist(),
            "score_isolation_forest": rng.normal(0.5, 0.1, 60).tolist(),
        },
        {"class": {"coin": 20, "leaf": 20, "tablet": 20}},
    )


def card_for(graph: bytes, golden: Mapping[str, bytes]) -> Card:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def answer(png: bytes) -> tuple[tuple[float, ...], dict[str, float]]:
        pixels = np.asarray(Image.open(io.BytesIO(png)))[None]
        names = ["probabilities", "score_mahalanobis", "score_isolation_forest"]
        probabilities, *scores = session.run(names, {"image": pixels, "target": np.array([0], np.int64)})
        return tuple(map(float, probabilities[0])), {
            name.removeprefix("score_"): float(score[0]) for name, score in zip(names[1:], scores, strict=True)
        }

    golden_cards = []
    for name, png in golden.items():
        probabilities, scores = answer(png)
        golden_cards.append(GoldenCard(name, contents.sha256(png), probabilities, scores))
    return Card(
        name="tiny",
        version=version_name(created_at=CREATED_AT, backbone="mean_colour", macro_f1=0.875),
        created_at=CREATED_AT,
        classes=tuple(ClassCard(name, {"en": name.title(), "th": "ตัวอย่าง"}) for name in CLASSES),
        input=InputCard(SIDE_PX, SIDE_PX, "centre_crop"),
        graph=GraphCard(
            "model.onnx",
            contents.sha256(graph),
            "fp32",
            OPSET,
            EMBEDDING,
            HEAT_MAP,
            ("mahalanobis", "isolation_forest"),
        ),
        temperature=1.5,
        decision=DecisionCard(
            DecisionLimits(
                0.5,
                0.1,
                (
                    DetectorLimits("mahalanobis", 10.0, 20.0, 30.0),
                    DetectorLimits("isolation_forest", 0.4, 0.5, 0.6),
                ),
            ),
            "made up for a test",
        ),
        data=DataCard(
            "colours",
            "0" * 64,
            60,
            dict.fromkeys(CLASSES, 20),
            SplitCard(1, "by photograph", {"train": 40, "test": 20}, ()),
        ),
        training=TrainingCard("head_only", 1, {"epochs": 0}, "unreleased", {"onnx": onnx.__version__}),
        weights=WeightsCard("mean_colour", "made up for a test", "CC0-1.0"),
        metrics=(MetricCard("macro_f1", 0.875, 0.8, 0.95, "20 photographs, seed 1"),),
        golden=tuple(golden_cards),
    )


def write_run(
    folder: Path,
    *,
    graph: onnx.ModelProto | bytes | None = None,
    change_card: Callable[[Card], Card] = lambda card: card,
    photographs: int = 2,
) -> Path:
    """What training leaves behind. A changed graph gets a card that describes its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    sound = tiny_graph().SerializeToString(deterministic=True)
    if graph is None:
        weights = sound
    else:
        weights = graph if isinstance(graph, bytes) else graph.SerializeToString(deterministic=True)
    golden = {f"golden_{number}.png": photograph(number) for number in range(photographs)}
    card = card_for(sound, golden)
    card = replace(card, graph=replace(card.graph, sha256=contents.sha256(weights)))
    (folder / "model.onnx").write_bytes(weights)
    (folder / "model.json").write_text(change_card(card).render(), "utf-8")
    (folder / "reference.json").write_text(reference_text(), "utf-8")
    for name, png in golden.items():
        (folder / name).write_bytes(png)
    return folder


@dataclass(frozen=True, slots=True)
class Maker:
    """Someone who trains and signs."""

    key: Path
    fingerprint: str

    def package(self, run: Path, out: Path) -> ArchiveSummary:
        return build(run, out, handler=HANDLER, stub=STUB, sign_key=self.key)
