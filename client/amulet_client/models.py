"""The models that a gateway serves, and their cards, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict

from protos.amulet.v1 import prediction_pb2 as pb


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    value: float
    low: float  # 95 % interval
    high: float
    data: str  # which photographs, which split, which seed


@dataclass(frozen=True, slots=True)
class Detector:
    """Where one OOD detector's score changes what is claimed. Higher is further out."""

    name: str
    typical: float
    unsure_at: float
    out_at: float


@dataclass(frozen=True, slots=True)
class Group:
    """Classes that a level does not tell apart."""

    id: str
    display_names: Mapping[str, str]  # language tag -> name
    class_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """A level of the class tree that answers can stand on: each class belongs to one of its groups."""

    id: str
    display_names: Mapping[str, str]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a version knows, how well, and from what."""

    name: str
    version: str
    created_at: datetime
    classes: Mapping[str, Mapping[str, str]]  # class id -> language tag -> display name
    levels: tuple[Level, ...]  # lowest first; empty without a class tree
    input_px: tuple[int, int]  # height, width
    temperature: float
    confidence_min: float
    margin_min: float
    detectors: tuple[Detector, ...]
    set_coverage: float  # of prediction sets; 0: none are promised
    metrics: tuple[Metric, ...]
    data_fingerprint: str
    data_photos: int
    weights_licence: str
    archive_sha256: str
    document: Mapping[str, Any]  # the whole model.json

    @staticmethod
    def of(card: pb.Card) -> ModelCard:
        return ModelCard(
            name=card.name,
            version=card.version,
            created_at=card.created_at.ToDatetime(tzinfo=UTC),
            classes={each.id: dict(each.display_names) for each in card.classes},
            levels=tuple(
                Level(
                    each.id,
                    dict(each.display_names),
                    tuple(Group(own.id, dict(own.display_names), tuple(own.class_ids)) for own in each.groups),
                )
                for each in card.levels
            ),
            input_px=(card.input_height_px, card.input_width_px),
            temperature=card.temperature,
            confidence_min=card.decision.confidence_min,
            margin_min=card.decision.margin_min,
            detectors=tuple(
                Detector(each.name, each.typical, each.unsure_at, each.out_at) for each in card.decision.detectors
            ),
            set_coverage=card.decision.set_coverage,
            metrics=tuple(Metric(each.name, each.value, each.low, each.high, each.data) for each in card.metrics),
            data_fingerprint=card.data_fingerprint,
            data_photos=card.data_photos,
            weights_licence=card.weights_licence,
            archive_sha256=card.archive_sha256,
            document=MessageToDict(card.document),
        )


@dataclass(frozen=True, slots=True)
class ServedVersion:
    version: str
    alias: str
    weight_ratio: float
    shadow: bool
    ready: bool


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: str
    version: str  # the one that most of the traffic gets, or that was asked for
    ready: bool
    versions: tuple[ServedVersion, ...]
    card: ModelCard | None  # of `version`; None where the gateway sent none

    @staticmethod
    def of(model: pb.Model) -> ServedModel:
        return ServedModel(
            name=model.name,
            version=model.version,
            ready=model.ready,
            versions=tuple(
                ServedVersion(each.version, each.alias, each.weight_ratio, each.shadow, each.ready)
                for each in model.versions
            ),
            card=ModelCard.of(model.card) if model.HasField("card") else None,
        )
