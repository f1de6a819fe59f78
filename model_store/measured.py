"""What a card carries of a measurement beside single figures: what was called what, and how sure against how right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ConfusionCard:
    """Photographs by what they show and by what they were called. Pairs that never occurred are left out."""

    data: str  # which photographs, which split, which seed
    counts: Mapping[str, Mapping[str, int]]  # class shown -> class answered -> photographs, at least 1

    @property
    def photos(self) -> int:
        return sum(sum(row.values()) for row in self.counts.values())

    def count(self, shown: str, answered: str) -> int:
        return self.counts.get(shown, {}).get(answered, 0)


@dataclass(frozen=True, slots=True)
class ReliabilityBinCard:
    """Photographs whose confidence lies in (low, high]; at least one."""

    low: float
    high: float
    photos: int
    confidence: float  # mean
    accuracy: float


@dataclass(frozen=True, slots=True)
class ReliabilityCard:
    """How often answers of a confidence were right. Bins without photographs are left out."""

    data: str
    bins: tuple[ReliabilityBinCard, ...]  # from low confidence to high

    @property
    def photos(self) -> int:
        return sum(each.photos for each in self.bins)


def reliability_of(document: Mapping[str, Any]) -> ReliabilityCard:
    return ReliabilityCard(document["data"], tuple(ReliabilityBinCard(**each) for each in document["bins"]))


def problem(confusion: ConfusionCard | None, reliability: ReliabilityCard | None, classes: Iterable[str]) -> str:
    """What contradicts itself or the card's classes, with its place; empty where nothing does."""
    known = set(classes)
    if confusion is not None:
        named = {*confusion.counts, *(answered for row in confusion.counts.values() for answered in row)}
        if unknown := sorted(named - known):
            return f"$.confusion.counts: {unknown[0]} is none of the classes"
    if reliability is not None:
        below = 0.0
        for each in reliability.bins:
            if not below <= each.low < each.high:
                return "$.reliability.bins: bins rise and do not overlap"
            if not each.low <= each.confidence <= each.high:
                return "$.reliability.bins: the mean confidence of a bin lies within it"
            below = each.high
    return ""
