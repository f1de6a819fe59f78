"""Two versions side by side, and all versions by one metric: from the cards, which say on which photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from django.utils.translation import gettext as _

from console.errors import Invalid
from console.registry.models import NAMED, ModelVersion
from console.spelling import composed
from model_store.card import Card, MetricCard
from model_store.measured import ConfusionCard, ReliabilityCard

# Every other metric of ours is better when it is higher.
LOWER_IS_BETTER: Final = frozenset({"ece", "brier", "nll", "wrongly_rejected", "set_size"})
RANKED_MOST: Final = 100

Measured = ConfusionCard | ReliabilityCard


class Better(StrEnum):
    """What two intervals say of which version is better."""

    FIRST = "first"
    SECOND = "second"
    LUCK = "could be luck"  # the intervals overlap
    OTHER_DATA = "other photographs"  # or another split or seed: the two figures cannot be compared
    ONE_ONLY = "one only"


class Data(StrEnum):
    """How the photographs that two measurements were made on relate."""

    SAME = "same"
    OTHER_SPLIT = "other split"  # or another seed, or answered in another way: the same photographs otherwise
    OTHER_PHOTOGRAPHS = "other photographs"


@dataclass(frozen=True, slots=True)
class TablePair:
    """A table that both cards carry or one of them alone, as which versions have it and on what."""

    first: str | None  # on which photographs; None: the card has none
    second: str | None
    data: Data | None  # None where one has none: nothing is to be compared


@dataclass(frozen=True, slots=True)
class MetricPair:
    name: str
    first: MetricCard | None
    second: MetricCard | None
    better: Better


@dataclass(frozen=True, slots=True)
class ClassPair:
    """Photographs of a class that each learnt from; None where it does not know the class."""

    class_id: str  # in its composed spelling
    names: Mapping[str, str]
    first: int | None
    second: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    first: ModelVersion
    second: ModelVersion
    metrics: Sequence[MetricPair]
    classes: Sequence[ClassPair]
    facts: Sequence[tuple[str, str, str]]  # name, first's, second's
    settings: Sequence[tuple[str, str, str]]  # of the training, only those that differ
    confusion: TablePair
    reliability: TablePair


@dataclass(frozen=True, slots=True)
class Ranked:
    """One version in the order of a metric."""

    version: ModelVersion
    metric: MetricCard
    may_be_best: bool  # its interval reaches that of the best one, on the same photographs


def compare(first: ModelVersion, second: ModelVersion) -> Comparison:
    """Raises Invalid for a version without a card, one of another model, or the same one twice."""
    for version in (first, second):
        if version.card_document is None:
            raise Invalid(_("{version} was not verified: it has no card.").format(version=version), field="a")
    if first.pk == second.pk:
        raise Invalid(_("Name two different versions."), field="b")
    if first.model != second.model:
        raise Invalid(_("{a} and {b} are versions of different models.").format(a=first, b=second), field="b")
    one, other = first.card(), second.card()
    names = dict.fromkeys([*(item.name for item in one.metrics), *(item.name for item in other.metrics)])
    return Comparison(
        first,
        second,
        [_metric(name, one.metric(name), other.metric(name)) for name in names],
        _classes(one, other),
        [
            (name, text, others)
            for (name, text), (_same, others) in zip(_facts(first, one), _facts(second, other), strict=True)
        ],
        _settings(one, other),
        _tables(one, other, one.confusion, other.confusion),
        _tables(one, other, one.reliability, other.reliability),
    )


def best(metric: str, *, model: str) -> Sequence[Ranked]:
    """The newest versions that have the metric, the best first. One query over at most RANKED_MOST cards."""
    rows = ModelVersion.objects.filter(state__in=NAMED, model=model).order_by("-pk")[:RANKED_MOST]
    found = [(version, card) for version in rows if (card := _metric_of(version, metric)) is not None]
    found.sort(key=lambda item: item[1].value, reverse=metric not in LOWER_IS_BETTER)
    if not found:
        return []
    leader = found[0][1]
    return [
        Ranked(version, card, card.data == leader.data and card.low <= leader.high and leader.low <= card.high)
        for version, card in found
    ]


def metric_names(model: str) -> Sequence[str]:
    """Every metric that a card of the newest versions has."""
    rows = ModelVersion.objects.filter(state__in=NAMED, model=model).order_by("-pk")[:RANKED_MOST]
    documents = rows.values_list("card_document", flat=True)
    return list(dict.fromkeys(item["name"] for document in documents for item in (document or {}).get("metrics", ())))


def is_lower_better(metric: str) -> bool:
    return metric in LOWER_IS_BETTER


def _metric_of(version: ModelVersion, name: str) -> MetricCard | None:
    for item in (version.card_document or {}).get("metrics", ()):
        if item["name"] == name:
            return MetricCard(item["name"], item["value"], item["low"], item["high"], item["data"])
    return None


def _metric(name: str, first: MetricCard | None, second: MetricCard | None) -> MetricPair:
    if first is None or second is None:
        return MetricPair(name, first, second, Better.ONE_ONLY)
    if first.data != second.data:
        return MetricPair(name, first, second, Better.OTHER_DATA)
    if first.low <= second.high and second.low <= first.high:
        return MetricPair(name, first, second, Better.LUCK)
    first_wins = (first.value > second.value) != (name in LOWER_IS_BETTER)
    return MetricPair(name, first, second, Better.FIRST if first_wins else Better.SECOND)


def _tables(one: Card, other: Card, first: Measured | None, second: Measured | None) -> TablePair:
    if first is None or second is None:
        return TablePair(first.data if first else None, second.data if second else None, None)
    if first.data == second.data:
        return TablePair(first.data, second.data, Data.SAME)
    is_same = one.data.fingerprint == other.data.fingerprint
    return TablePair(first.data, second.data, Data.OTHER_SPLIT if is_same else Data.OTHER_PHOTOGRAPHS)


def _classes(one: Card, other: Card) -> Sequence[ClassPair]:
    known = {composed(item.id): item.names for item in (*other.classes, *one.classes)}
    mine, others = (_photographs(card) for card in (one, other))
    return [
        ClassPair(
            class_id,
            known[class_id],
            mine.get(class_id),
            others.get(class_id),
        )
        for class_id in sorted(known)
    ]


def _photographs(card: Card) -> Mapping[str, int]:
    """Composed class id -> photographs that the version learnt it from."""
    found: dict[str, int] = {}
    for item in card.classes:
        class_id = composed(item.id)
        found[class_id] = found.get(class_id, 0) + card.data.per_class.get(item.id, 0)
    return found


def _facts(version: ModelVersion, card: Card) -> Sequence[tuple[str, str]]:
    """What a version is, in the same order for both."""
    smoke: Mapping[str, Any] = version.smoke_report or {}
    limits = card.decision.limits
    detectors = "; ".join(f"{item.name} {item.unsure_at:.4g} / {item.out_at:.4g}" for item in limits.detectors)
    return [
        ("data", f"{card.data.name}, {card.data.photos}"),
        ("fingerprint", card.data.fingerprint[:16]),
        ("split", f"{card.data.split.method}, {card.data.split.seed}"),
        ("recipe", f"{card.training.recipe}, {card.training.seed}"),
        ("code", card.training.code_version),
        ("backbone", card.weights.backbone),
        ("licence", card.weights.licence),
        ("form", f"{card.graph.form}, {card.input.width_px} × {card.input.height_px} px"),
        ("size", f"{version.size_bytes / 2**20:.1f} MiB"),
        ("latency", f"{smoke['graph_ms']:.1f} ms" if smoke.get("graph_ms") else "–"),
        ("temperature", f"{card.temperature:.3f}"),
        ("confidence", f"{limits.confidence_min:.3f}"),
        ("detectors", detectors or "–"),
    ]


def _settings(one: Card, other: Card) -> Sequence[tuple[str, str, str]]:
    mine, others = one.training.config, other.training.config
    return [
        (name, str(mine.get(name, "–")), str(others.get(name, "–")))
        for name in sorted({*mine, *others})
        if mine.get(name) != others.get(name)
    ]
