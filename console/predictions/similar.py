"""Photographs that a version learnt from and was reminded of, as plain values for `predictions/similar.html`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from console.predictions.detail import Detail
from console.predictions.models import Prediction
from console.registry import queries as registry


@dataclass(frozen=True, slots=True)
class Similar:
    """One of them."""

    name: str  # of its class
    id: str
    picture: str  # address of its picture, as data; "" where it may not be shown
    percent: str


def similar(*, name: str, example_id: str, thumbnail_jpeg: bytes, similarity_ratio: float) -> Similar:
    """thumbnail_jpeg: empty where it may not be shown.  similarity_ratio: -1 to 1."""
    picture = base64.b64encode(thumbnail_jpeg).decode()
    return Similar(
        name=name,
        id=example_id,
        picture=f"data:image/jpeg;base64,{picture}" if picture else "",
        percent=f"{max(0.0, similarity_ratio):.0%}",
    )


def similar_of(prediction: Prediction, detail: Detail, names: Mapping[str, str]) -> list[Similar]:
    """What the answer was given beside, nearest first. One query where there is any.

    names: class id -> display name.  An archive that is not here, or no longer, leaves the pictures out.
    """
    if not detail.nearest:
        return []
    pictures = registry.example_pictures(prediction.model, prediction.version)
    return [
        similar(
            name=names.get(neighbour.class_id, neighbour.class_id),
            example_id=neighbour.example_id,
            thumbnail_jpeg=pictures.get(neighbour.example_id, b""),
            similarity_ratio=neighbour.similarity_ratio,
        )
        for neighbour in detail.nearest
    ]
