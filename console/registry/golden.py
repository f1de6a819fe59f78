"""The photographs that a version is tried on, as people and programs may look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from console.registry.models import ModelVersion
from console.registry.queries import golden_photographs
from model_store.card import ClassCard
from model_store.errors import ArchiveRefused

CONTENT_TYPE: Final = "image/png"


@dataclass(frozen=True, slots=True)
class Golden:
    """One of them, with the answer that the card expects."""

    number: int  # from 1, in the card's order
    file: str  # as the report of the smoke test names it
    expected: ClassCard
    probability: float  # of that class, 0 to 1
    png: bytes


def golden_of(version: ModelVersion) -> list[Golden]:
    """In the card's order; empty before the archive is verified, and where the store has lost it. Reads no row."""
    if not version.card_document:
        return []
    try:
        pictures = golden_photographs(version.file_name)
    except (ArchiveRefused, OSError):
        return []
    card, found = version.card(), []
    for number, golden in enumerate(card.golden, start=1):
        best = max(range(len(golden.probabilities)), key=golden.probabilities.__getitem__)
        found.append(Golden(number, golden.file, card.classes[best], golden.probabilities[best], pictures[golden.file]))
    return found
