"""Photographs that a version learnt from and was reminded of: for `predictions/similar.html`, and for scripts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from console.predictions.detail import Detail, Neighbour
from console.predictions.models import Prediction
from console.registry import queries as registry


@dataclass(frozen=True, slots=True)
class Similar:
    """One of them."""

    name: str  # of its class
    id: str
    picture: str  # address of its picture, as data; "" where it may not be shown
    percent: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer was given beside, with its picture as the archive lets it be shown."""

    neighbour: Neighbour
    thumbnail_jpeg: bytes  # empty: it may not be shown, or the archive is not here


def similar(*, name: str, example_id: str, thumbnail_jpeg: bytes, similarity_ratio: float) -> Similar:
    """thumbnail_jpeg: empty where it may not be shown.  similarity_ratio: -1 to 1."""
    picture = base64.b64encode(thumbnail_jpeg).decode()
    return Similar(
        name=name,
        id=example_id,
        picture=f"data:image/jpeg;base64,{picture}" if picture else "",
        percent=f"{max(0.0, similarity_ratio):.0%}",
    )


def nearest_of(prediction: Prediction, detail: Detail) -> list[Shown]:
    """What the answer was given beside, nearest first. One query where there is any.

    An archive that is not here, or no longer, leaves the pictures out.
    """
    if not detail.nearest:
        return []
    pictures = registry.example_pictures(prediction.model, prediction.version)
    return [Shown(neighbour, pictures.get(neighbour.example_id, b"")) for neighbour in detail.nearest]


def similar_of(prediction: Prediction, detail: Detail, names: Mapping[str, str]) -> list[Similar]:
    """The same for its page. names: class id -> display name."""
    return [
        similar(
            name=names.get(shown.neighbour.class_id, shown.neighbour.class_id),
            example_id=shown.neighbour.example_id,
            thumbnail_jpeg=shown.thumbnail_jpeg,
            similarity_ratio=shown.neighbour.similarity_ratio,
        )
        for shown in nearest_of(prediction, detail)
    ]
