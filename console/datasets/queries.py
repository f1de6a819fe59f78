"""Lineage: from a data set to the versions that learnt from it, and back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, QuerySet

from console.datasets.models import Dataset, Label
from console.registry.models import ModelVersion


@dataclass(frozen=True, slots=True)
class LearntFrom:
    """What a version learnt from, and how many of its photographs were erased since."""

    dataset: Dataset
    erased: int


def datasets() -> QuerySet[Dataset]:
    """Data sets, newest first; joins whoever exported them."""
    return Dataset.objects.select_related("made_by").order_by("-pk")


def versions_of(dataset: Dataset) -> list[ModelVersion]:
    """Versions whose card names this data set's photographs, newest first. One query over the registry."""
    return list(ModelVersion.objects.filter(card_document__data__fingerprint=dataset.fingerprint).order_by("-pk"))


def learnt_from(fingerprint: str) -> LearntFrom | None:
    """The export that a version's card names; None when it was trained on other photographs. Two queries."""
    dataset = datasets().filter(fingerprint=fingerprint).order_by("pk").first()
    return None if dataset is None else LearntFrom(dataset, erased_since(dataset))


def erased_since(dataset: Dataset) -> int:
    """How many of its photographs were erased, with their people, since it was made."""
    return dataset.photographs - dataset.labels.count()


def exports_with(prediction_ids: Collection[UUID]) -> int:
    """How many labels of these predictions are in data sets."""
    return Label.objects.filter(prediction__in=list(prediction_ids)).count()


def experts_of(dataset: Dataset) -> list[tuple[str, int]]:
    """Who decided how many of its labels, the most first. One query."""
    rows = dataset.labels.values_list("decision__expert__username").annotate(labels=Count("pk"))
    return [(name, labels) for name, labels in rows.order_by("-labels", "decision__expert__username")]
