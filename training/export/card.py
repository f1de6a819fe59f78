"""The card of a run: what was fitted, from what, and how well it did, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onnx import ModelProto

from model_store.card import (
    EXPLANATIONS,
    CalibrationCard,
    Card,
    ClassCard,
    DataCard,
    DecisionCard,
    ExamplesCard,
    GraphCard,
    GroupCard,
    InputCard,
    LevelCard,
    LookAlikesCard,
    MetricCard,
    SplitCard,
    TrainingCard,
    WeightsCard,
    version_name,
)
from model_store.measured import ConfusionCard, ReliabilityCard
from training import provenance
from training.data.folder import Folder
from training.data.splits import Split
from training.evaluation.look_alikes import ANY_SIDE, LookAlikes
from training.fitting.recipe import Recipe
from training.fitting.version import DETECTORS, Version
from training.models import backbone_graph
from training.models.weights import Origin
from training.served.answers import GRAPH


@dataclass(frozen=True, slots=True)
class Learning:
    """What a version learnt from, and by which rule."""

    folder: Folder
    division: Split
    leaks: tuple[tuple[str, str], ...]  # of `splits.leaks`
    recipe: Recipe
    seed: int
    settings: Mapping[str, Any]  # what else decided the run
    origin: Origin  # of the weights that the backbone started from
    borders_on: str  # which photographs the OOD borders stand on, by which rule


@dataclass(frozen=True, slots=True)
class Measures:
    """How well versions of this kind do on what they never saw."""

    metrics: tuple[MetricCard, ...]
    confusion: ConfusionCard
    reliability: ReliabilityCard
    look_alikes: tuple[LookAlikes, ...]


def card_of(
    version: Version,
    learning: Learning,
    measures: Measures,
    *,
    name: str,
    created_at: datetime,
    suffix: str,
    graph: ModelProto,
    graph_sha256: str,
    examples: ExamplesCard,
) -> Card:
    """The card without golden photographs, which only a model with a card can answer."""
    folder, division, recipe = learning.folder, learning.division, learning.recipe
    macro_f1 = next(figure.value for figure in measures.metrics if figure.name == "macro_f1_cv")
    shapes = {
        output.name: tuple(size.dim_value for size in output.type.tensor_type.shape.dim)
        for output in graph.graph.output
    }
    return Card(
        name=name,
        version=version_name(created_at=created_at, backbone=recipe.backbone, macro_f1=macro_f1, suffix=suffix),
        created_at=created_at,
        classes=tuple(ClassCard(id=label, names=dict(folder.names[label].names)) for label in folder.classes),
        levels=tuple(
            LevelCard(
                id=named.id,
                names=dict(named.names),
                set_probability_min=fitted.set_probability_min,
                groups=tuple(GroupCard(group.id, dict(group.names), group.classes) for group in named.groups),
            )
            for named, fitted in zip(folder.levels, version.levels, strict=True)
        ),
        look_alikes=tuple(
            LookAlikesCard(
                classes=pair.classes,
                side="" if pair.side == ANY_SIDE else pair.side,
                photos=pair.photos,
                confused=pair.confused,
                separation=pair.separation,
                decided_by=pair.decided_by,
            )
            for pair in measures.look_alikes
        ),
        input=InputCard(height_px=recipe.input_px, width_px=recipe.input_px, fit="centre_crop"),
        graph=GraphCard(
            file=GRAPH,
            sha256=graph_sha256,
            form="fp32",
            opset=backbone_graph.OPSET,
            embedding_size=shapes["embedding"][1],
            heat_map=(shapes["heatmap"][1], shapes["heatmap"][2]),
            detectors=DETECTORS,
            explanations=tuple(EXPLANATIONS),
        ),
        temperature=version.fitted.temperature,
        calibration=CalibrationCard(version.trial.nll, version.trial.ece, version.trial.refused),
        decision=DecisionCard(limits=version.limits, chosen_on=learning.borders_on),
        data=DataCard(
            name=folder.path.resolve().name,
            fingerprint=folder.fingerprint,
            photos=len(folder.photos),
            per_class=dict(folder.per_class),
            split=SplitCard(
                seed=division.seed,
                method=division.method,
                counts=dict(division.counts),
                leaks=learning.leaks,
            ),
        ),
        training=TrainingCard(
            recipe=recipe.name,
            seed=learning.seed,
            config={**recipe.document(), **learning.settings},
            code_version=provenance.code_version(),
            environment=provenance.packages(),
        ),
        weights=WeightsCard(
            backbone=recipe.backbone,
            source=learning.origin.described,
            licence=learning.origin.licence,
        ),
        metrics=measures.metrics,
        confusion=measures.confusion,
        reliability=measures.reliability,
        golden=(),
        examples=examples,
    )
