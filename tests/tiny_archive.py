"""A complete, valid and tiny model version, for every test that needs one.

The graph has the inputs and outputs of the real one and answers in a millisecond: pooled
colours, fixed filters and a linear head that tells red, green and blue photographs
apart. Its figures are honest in form (probabilities sum to 1, detectors grow with the
distance from the nearest class) and say nothing about quality.

    run = write_run(folder)                          # a training run: graph, card, reference, golden
    summary = write_archive(folder, file, key=key)   # the signed .mar that TorchServe takes
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from handlers import amulet_handler
from model_store import archive, examples, reference
from model_store.card import (
    EXPLANATIONS,
    Card,
    ClassCard,
    DataCard,
    DecisionCard,
    ExamplesCard,
    GoldenCard,
    GraphCard,
    InputCard,
    MetricCard,
    SplitCard,
    TrainingCard,
    WeightsCard,
)
from model_store.examples import Example
from model_store.measured import ConfusionCard, ReliabilityBinCard, ReliabilityCard
from protos.amulet.graph.v1 import graph_pb2
from protos.verdict import DecisionLimits, DetectorLimits

NAME: Final = "tiny"
VERSION: Final = "v20260101_tiny_1.000"
CLASSES: Final = ("red", "green", "blue")
NAMES: Final = (
    ClassCard("red", {"en": "Red", "th": "แดง"}),
    ClassCard("green", {"en": "Green", "th": "เขียว"}),
    ClassCard("blue", {"en": "Blue", "th": "น้ำเงิน"}),
)
DETECTORS: Final = ("mahalanobis", "isolation_forest")
SIDE_PX: Final = 64
GRID: Final = 4  # rows and columns of the heat map
EMBEDDING: Final = 6
OPSET: Final = 18
HANDLER: Final = Path(amulet_handler.__file__)
STUB: Final = Path(graph_pb2.__file__)


def photo_of(colour: str, *, side_px: int = SIDE_PX, seed: int = 0) -> bytes:
    """A PNG of one of CLASSES, or of "grey", which none of them is; noise makes seeds differ."""
    base = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "grey": (128, 128, 128)}[colour]
    noise = np.random.default_rng(seed).integers(-20, 20, (side_px, side_px, 3))
    pixels = np.clip(np.array(base) + noise, 0, 255).astype(np.uint8)
    out = BytesIO()
    Image.fromarray(pixels, "RGB").save(out, "PNG")
    return out.getvalue()


def write_run(
    folder: Path,
    *,
    name: str = NAME,
    version: str = VERSION,
    side_px: int = SIDE_PX,
    temperature: float = 1.5,
    classes: tuple[ClassCard, ...] = NAMES,
    plain: bool = False,
    samples_each: int = 4,
    tables: bool = False,
) -> Card:
    """Write model.onnx, model.json, reference.json, examples.json, golden_0.png and golden_1.png into `folder`.

    classes: what the card calls the three colours.  plain: as before there were examples and Grad-CAM++.
    samples_each: of each class, in the reference that drift compares with.
    tables: whether the card says what was called what, and how sure it was; older ones do not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = graph_bytes(side_px=side_px, temperature=temperature, plain=plain)
    (folder / "model.onnx").write_bytes(graph)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    samples = [
        amulet_handler.pixels_of(photo_of(colour, side_px=side_px, seed=seed), side_px, side_px)
        for colour in CLASSES
        for seed in range(samples_each)
    ]
    answers = _run(session, np.stack(samples))
    goldens = []
    for index, colour in enumerate(("red", "blue")):
        photo = photo_of(colour, side_px=side_px, seed=100 + index)
        (folder / f"golden_{index}.png").write_bytes(photo)
        goldens.append(_golden(f"golden_{index}.png", photo, session, side_px))
    (folder / "reference.json").write_text(
        reference.build(
            {"confidence": answers["probabilities"].max(axis=1).tolist(), "mahalanobis": answers["score_mahalanobis"]},
            {"predicted_class": {known.id: samples_each for known in classes}},
        )
    )
    listed = examples.render(
        [
            Example(f"{index:016x}", known.id, "front", thumbnail_of(CLASSES[index]))
            for index, known in enumerate(classes)
        ]
    )
    if not plain:
        (folder / examples.FILE).write_text(listed)
    card = _card(
        name=name,
        version=version,
        side_px=side_px,
        temperature=temperature,
        classes=classes,
        graph=graph,
        limits=(
            DetectorLimits(
                "mahalanobis", typical=float(np.median(answers["score_mahalanobis"])), unsure_at=4, out_at=9
            ),
            DetectorLimits(
                "isolation_forest", typical=float(np.median(answers["score_isolation_forest"])), unsure_at=1, out_at=2
            ),
        ),
        golden=tuple(goldens),
        described=None if plain else ExamplesCard(len(classes), hashlib.sha256(listed.encode()).hexdigest(), True),
    )
    if tables:
        card = replace(card, confusion=_confusion(classes), reliability=_RELIABILITY)
    (folder / "model.json").write_text(card.render())
    return card


def write_archive(
    folder: Path,
    out: Path,
    *,
    key: Path | None = None,
    name: str = NAME,
    version: str = VERSION,
    classes: tuple[ClassCard, ...] = NAMES,
    plain: bool = False,
    samples_each: int = 4,
    tables: bool = False,
) -> archive.ArchiveSummary:
    """Write a run into `folder` and its archive to `out`; unsigned without a key."""
    write_run(
        folder, name=name, version=version, classes=classes, plain=plain, samples_each=samples_each, tables=tables
    )
    return archive.build(folder, out, handler=HANDLER, stub=STUB, sign_key=key)


def thumbnail_of(colour: str) -> bytes:
    """A JPEG as small as examples.json wants them."""
    out = BytesIO()
    Image.open(BytesIO(photo_of(colour))).save(out, "JPEG")
    return out.getvalue()


def graph_bytes(*, side_px: int = SIDE_PX, temperature: float = 1.5, plain: bool = False) -> bytes:
    """The serialized ONNX graph, opset 18: image uint8 [N, side, side, 3] and target int64 [N] in."""
    # Filters over the three colours and their opposites: 6 maps of GRID x GRID.
    filters = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32).reshape(EMBEDDING, 3, 1, 1)
    bias = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], dtype=np.float32)
    head = (np.concatenate([np.eye(3), -np.eye(3)], axis=1) * 4.0).astype(np.float32)  # [classes, embedding]
    # Where photo_of puts the classes: 200 of 255 in their own colour, 40 in the others.
    own = np.where(np.eye(3, dtype=bool), 200 / 255, 40 / 255)
    centres = np.concatenate([own, 1.0 - own], axis=1).astype(np.float32)  # [classes, embedding]
    constants = {
        "scale": np.float32(1.0 / 255.0),
        "filters": filters,
        "bias": bias,
        "head": head,
        "temperature": np.float32(temperature),
        "centres": centres[np.newaxis],
        "spread": np.float32(0.1),
        "zero": np.int64(0),
        "axis_1": np.array([1], dtype=np.int64),
        "axis_2": np.array([2], dtype=np.int64),
        "axes_last": np.array([2, 3], dtype=np.int64),
        "two": np.float32(2.0),
        "references": (centres / np.linalg.norm(centres, axis=1, keepdims=True)).T.astype(np.float32),
        "nearest_count": np.array([len(CLASSES)], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["as_float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool",
            ["planes"],
            ["pooled"],
            kernel_shape=[side_px // GRID, side_px // GRID],
            strides=[side_px // GRID, side_px // GRID],
        ),
        helper.make_node("Conv", ["pooled", "filters", "bias"], ["filtered"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["filtered"], ["maps"]),
        helper.make_node("ReduceMean", ["maps", "axes_last"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "head"], ["logits"], transB=1),
        helper.make_node("Div", ["logits", "temperature"], ["warm"]),
        helper.make_node("Softmax", ["warm"], ["probabilities"], axis=1),
        # Detectors: how far the nearest class is, once by all colours and once by the one furthest off.
        helper.make_node("Unsqueeze", ["embedding", "axis_1"], ["embedding_3d"]),
        helper.make_node("Sub", ["embedding_3d", "centres"], ["off"]),
        helper.make_node("Div", ["off", "spread"], ["off_scaled"]),
        helper.make_node("Mul", ["off_scaled", "off_scaled"], ["squared"]),
        helper.make_node("ReduceSum", ["squared", "axis_2"], ["distances"], keepdims=0),
        helper.make_node("ReduceMin", ["distances", "axis_1"], ["score_mahalanobis"], keepdims=0),
        helper.make_node("Abs", ["off_scaled"], ["deviation"]),
        helper.make_node("ReduceMax", ["deviation", "axis_2"], ["largest"], keepdims=0),
        helper.make_node("ReduceMin", ["largest", "axis_1"], ["score_isolation_forest"], keepdims=0),
        # Grad-CAM of a pooled linear head: its weights for the class over the maps.
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node("Less", ["target", "zero"], ["unnamed"]),
        helper.make_node("Where", ["unnamed", "best", "target"], ["explained"]),
        helper.make_node("Gather", ["head", "explained"], ["weights"], axis=0),
        helper.make_node("Unsqueeze", ["weights", "axes_last"], ["weights_4d"]),
        helper.make_node("Mul", ["maps", "weights_4d"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axis_1"], ["summed"], keepdims=0),
        helper.make_node("Relu", ["summed"], ["heatmap"]),
        # Grad-CAM++ of the same: training.explanation.gradcam.
        helper.make_node("Mul", ["weights", "embedding"], ["third"]),
        helper.make_node("Add", ["third", "two"], ["order"]),
        helper.make_node("Relu", ["weights"], ["upward"]),
        helper.make_node("Div", ["upward", "order"], ["weights_plus_plus"]),
        helper.make_node("Unsqueeze", ["weights_plus_plus", "axes_last"], ["weights_plus_plus_4d"]),
        helper.make_node("Mul", ["maps", "weights_plus_plus_4d"], ["weighted_plus_plus"]),
        helper.make_node("ReduceSum", ["weighted_plus_plus", "axis_1"], ["summed_plus_plus"], keepdims=0),
        helper.make_node("Relu", ["summed_plus_plus"], ["heatmap_plus_plus"]),
        # The centres as references.
        helper.make_node("ReduceL2", ["embedding", "axis_1"], ["length"], keepdims=1),
        helper.make_node("Div", ["embedding", "length"], ["direction"]),
        helper.make_node("MatMul", ["direction", "references"], ["cosines"]),
        helper.make_node("TopK", ["cosines", "nearest_count"], ["nearest_cosine", "nearest_index"], axis=1),
    ]
    further = [
        helper.make_tensor_value_info("heatmap_plus_plus", TensorProto.FLOAT, ["N", GRID, GRID]),
        helper.make_tensor_value_info("nearest_cosine", TensorProto.FLOAT, ["N", len(CLASSES)]),
        helper.make_tensor_value_info("nearest_index", TensorProto.INT64, ["N", len(CLASSES)]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs=[
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side_px, side_px, 3]),
            helper.make_tensor_value_info("target", TensorProto.INT64, ["N"]),
        ],
        outputs=[
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(CLASSES)]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(CLASSES)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", EMBEDDING]),
            helper.make_tensor_value_info("score_mahalanobis", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("score_isolation_forest", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["N", GRID, GRID]),
            *([] if plain else further),
        ],
        initializer=[numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _run(session: onnxruntime.InferenceSession, images: NDArray[np.uint8]) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    targets = np.full(len(images), -1, dtype=np.int64)
    return dict(zip(names, session.run(names, {"image": images, "target": targets}), strict=True))


def _golden(name: str, photo: bytes, session: onnxruntime.InferenceSession, side_px: int) -> GoldenCard:
    answer = _run(session, amulet_handler.pixels_of(photo, side_px, side_px)[np.newaxis])
    return GoldenCard(
        file=name,
        sha256=hashlib.sha256(photo).hexdigest(),
        probabilities=tuple(answer["probabilities"][0].tolist()),
        scores={detector: float(answer[f"score_{detector}"][0]) for detector in DETECTORS},
    )


_MEASURED_ON: Final = "the twelve generated photographs"
_RELIABILITY: Final = ReliabilityCard(
    _MEASURED_ON, (ReliabilityBinCard(0.4, 0.6, 2, 0.5, 0.5), ReliabilityBinCard(0.8, 1.0, 10, 0.95, 0.9))
)


def _confusion(classes: tuple[ClassCard, ...]) -> ConfusionCard:
    first, second = classes[0].id, classes[1].id
    right = {known.id: {known.id: 4} for known in classes[1:]}
    return ConfusionCard(_MEASURED_ON, {first: {first: 3, second: 1}, **right})


def _card(
    *,
    name: str,
    version: str,
    side_px: int,
    temperature: float,
    classes: tuple[ClassCard, ...],
    graph: bytes,
    limits: tuple[DetectorLimits, ...],
    golden: tuple[GoldenCard, ...],
    described: ExamplesCard | None,
) -> Card:
    return Card(
        name=name,
        version=version,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        classes=classes,
        input=InputCard(height_px=side_px, width_px=side_px, fit="centre_crop"),
        graph=GraphCard(
            file="model.onnx",
            sha256=hashlib.sha256(graph).hexdigest(),
            form="fp32",
            opset=OPSET,
            embedding_size=EMBEDDING,
            heat_map=(GRID, GRID),
            detectors=DETECTORS,
            explanations=("grad_cam",) if described is None else tuple(EXPLANATIONS),
        ),
        temperature=temperature,
        decision=DecisionCard(
            limits=DecisionLimits(
                confidence_min=0.6, margin_min=0.1, detectors=limits, set_coverage=0.9, set_probability_min=0.05
            ),
            chosen_on="twelve generated photographs; the limits are for tests only",
        ),
        data=DataCard(
            name="colours",
            fingerprint=hashlib.sha256(b"colours").hexdigest(),
            photos=12,
            per_class={known.id: 4 for known in classes},
            split=SplitCard(seed=0, method="none: nothing was fitted", counts={"train": 12}, leaks=()),
        ),
        training=TrainingCard(recipe="by hand", seed=0, config={}, code_version="tests", environment={}),
        weights=WeightsCard(backbone="tiny", source="written by hand", licence="Apache-2.0"),
        metrics=(MetricCard("macro_f1", 1.0, 1.0, 1.0, _MEASURED_ON),),
        golden=golden,
        examples=described,
    )
