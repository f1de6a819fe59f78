"""The card of a run: what was fitted, from what, and how well it did, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    GoldenCard,
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
from training.evaluation.answers import GRAPH
from training.evaluation.look_alikes import ANY_SIDE, LookAlikes
from training.export import fused_graph
from training.fitting.recipe import Recipe
from training.fitting.version import DETECTORS, Version
from training.models.weights import Origin


def card_of(
    *,
    name: str,
    created_at: datetime,
    folder: Folder,
    division: Split,
    recipe: Recipe,
    seed: int,
    settings: Mapping[str, Any],
    version: Version,
    figures: Sequence[MetricCard],
    confusion: ConfusionCard,
    reliability: ReliabilityCard,
    golden: Sequence[GoldenCard],
    graph: ModelProto,
    graph_sha256: str,
    borders_on: str,
    origin: Origin,
    examples: ExamplesCard,
    look_alikes: Sequence[LookAlikes],
    leaks: Sequence[tuple[str, str]],
    suffix: str = "",
) -> Card:
    """settings: what else decided the run, beside the recipe.  borders_on: which photographs, by which rule.

    leaks: of `splits.leaks`.  origin: of the weights that the backbone started from.
    """
    macro_f1 = next(figure.value for figure in figures if figure.name == "macro_f1_cv")
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
            for pair in look_alikes
        ),
        input=InputCard(height_px=recipe.input_px, width_px=recipe.input_px, fit="centre_crop"),
        graph=GraphCard(
            file=GRAPH,
            sha256=graph_sha256,
            form="fp32",
            opset=fused_graph.OPSET,
            embedding_size=shapes["embedding"][1],
            heat_map=(shapes["heatmap"][1], shapes["heatmap"][2]),
            detectors=DETECTORS,
            explanations=tuple(EXPLANATIONS),
        ),
        temperature=version.fitted.temperature,
        calibration=CalibrationCard(version.trial.nll, version.trial.ece, version.trial.refused),
        decision=DecisionCard(limits=version.limits, chosen_on=borders_on),
        data=DataCard(
            name=folder.path.resolve().name,
            fingerprint=folder.fingerprint,
            photos=len(folder.photos),
            per_class=dict(folder.per_class),
            split=SplitCard(
                seed=division.seed,
                method=division.method,
                counts=dict(division.counts),
                leaks=tuple(leaks),
            ),
        ),
        training=TrainingCard(
            recipe=recipe.name,
            seed=seed,
            config={**recipe.document(), **settings},
            code_version=provenance.code_version(),
            environment=provenance.packages(),
        ),
        weights=WeightsCard(
            backbone=recipe.backbone,
            source=origin.described,
            licence=origin.licence,
        ),
        metrics=tuple(figures),
        confusion=confusion,
        reliability=reliability,
        golden=tuple(golden),
        examples=examples,
    )
