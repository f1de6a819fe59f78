"""Lineage: from a data set to the versions that learnt from it, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Count, F, QuerySet

from console.datasets.models import Dataset, Label
from console.registry.models import ModelVersion, State
from console.vault import queries as vault

_IDS_AT_ONCE: Final = 500


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
    found = ModelVersion.objects.filter(card_document__data__fingerprint=dataset.fingerprint)
    return list(found.select_related("uploaded_by").order_by("-pk"))


def learnt_from(fingerprint: str) -> LearntFrom | None:
    """The export that a version's card names; None when it was trained on other photographs. Two queries."""
    dataset = datasets().filter(fingerprint=fingerprint).order_by("pk").first()
    return None if dataset is None else LearntFrom(dataset, erased_since(dataset))


def erased_since(dataset: Dataset) -> int:
    """How many of its photographs were erased, with their people, since it was made."""
    return dataset.photographs - dataset.labels.count()


def is_lent(dataset: Dataset, *, at: datetime) -> bool:
    """Whether every photograph of a data set may still be learnt from. A query for some hundred photographs."""
    wanted = {(str(prediction), part) for prediction, part in dataset.labels.values_list("prediction", "part")}
    return wanted <= vault.photographs_lent({owner for owner, _part in wanted}, at=at)


def versions_that_learnt_from(prediction_ids: Collection[UUID]) -> list[ModelVersion]:
    """Versions whose data sets hold photographs of these predictions, newest first. One query."""
    fingerprints = Dataset.objects.filter(labels__prediction__in=list(prediction_ids)).values_list("fingerprint")
    return _learnt([fingerprint for (fingerprint,) in fingerprints.distinct()])


def versions_with_lent_golden(learnt: Collection[str]) -> list[str]:
    """Of versions that learnt from data sets, those whose golden photographs are of their data sets. One query.

    learnt: "MODEL VERSION"; neither has a space in it.  A version's name alone, as erasures noted before decision 0227,
    is that of each model's.  Returns "MODEL VERSION", in order.
    """
    names = {name.rpartition(" ")[2] for name in learnt}
    rows = ModelVersion.objects.filter(version__in=names, card_document__isnull=False)
    meant = [row for row in rows if str(row) in learnt or row.version in learnt]
    return sorted({str(row) for row in meant if not row.card().golden_are_drawn})


@dataclass(frozen=True, slots=True)
class Learnt:
    """A data set with photographs of one person, and the versions that learnt from it."""

    dataset: Dataset
    photographs: int  # of this person
    versions: tuple[ModelVersion, ...]


def learnt_of(subject_id: UUID) -> list[Learnt]:
    """What learnt, or may yet, from a person's photographs, the newest data set first. Two queries."""
    mine = Dataset.objects.filter(labels__prediction__subject=subject_id).annotate(mine=Count("labels"))
    found = list(mine.order_by("-pk"))
    by_fingerprint: dict[str, list[ModelVersion]] = {}
    for version in _learnt([row.fingerprint for row in found]):
        by_fingerprint.setdefault(_fingerprint_of(version), []).append(version)
    return [Learnt(row, row.mine, tuple(by_fingerprint.get(row.fingerprint, ()))) for row in found]


def versions_with_erased(states: Collection[State]) -> dict[ModelVersion, int]:
    """Versions in these states of whose photographs some were erased since, with how many. Three queries.

    Counted are the labels of the data sets that these learnt from, and not of every export that there ever was.
    """
    living = ModelVersion.objects.filter(state__in=states, card_document__isnull=False)
    named = dict(living.values_list("pk", "card_document__data__fingerprint"))
    exports = Dataset.objects.filter(fingerprint__in=set(named.values())).annotate(left=Count("labels"))
    erased: dict[str, int] = {}
    for row in exports.filter(left__lt=F("photographs")):
        # Exports of one fingerprint may differ in what is of no class, which it does not cover.
        erased[row.fingerprint] = max(erased.get(row.fingerprint, 0), row.photographs - row.left)
    found = ModelVersion.objects.in_bulk([key for key, fingerprint in named.items() if fingerprint in erased])
    return {found[key]: erased[named[key]] for key in sorted(found, reverse=True)}


def _learnt(fingerprints: list[str]) -> list[ModelVersion]:
    return list(ModelVersion.objects.filter(card_document__data__fingerprint__in=fingerprints).order_by("-pk"))


def _fingerprint_of(version: ModelVersion) -> str:
    assert version.card_document is not None
    return str(version.card_document["data"]["fingerprint"])


def exports_with(prediction_ids: Collection[UUID]) -> int:
    """How many labels of these predictions are in data sets."""
    return Label.objects.filter(prediction__in=list(prediction_ids)).count()


def labels_by_prediction(prediction_ids: Sequence[UUID]) -> Mapping[UUID, list[tuple[int, str]]]:
    """Part and class of the labels that data sets hold of their photographs. A query for some hundred."""
    found: dict[UUID, list[tuple[int, str]]] = {}
    for start in range(0, len(prediction_ids), _IDS_AT_ONCE):
        rows = Label.objects.filter(prediction__in=prediction_ids[start : start + _IDS_AT_ONCE]).order_by("pk")
        for prediction_id, part, class_id in rows.values_list("prediction_id", "part", "class_id"):
            found.setdefault(prediction_id, []).append((part, class_id))
    return found


def experts_of(dataset: Dataset) -> list[tuple[str, int]]:
    """Who decided how many of its labels, the most first. One query."""
    rows = dataset.labels.values_list("decision__expert__username").annotate(labels=Count("pk"))
    return [(name, labels) for name, labels in rows.order_by("-labels", "decision__expert__username")]
