"""What writes predictions and feedback, ingest only, inside its transaction; and what deletes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef

from console.predictions.detail import Detail
from console.predictions.models import Feedback, Prediction, Verdict
from console.rows import insert_rows

_ROWS_PER_STATEMENT: Final = 500


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """A row to be of `Prediction`: making one of the ORM's objects takes a tenth of the time that ingest has."""

    prediction_id: UUID
    happened_at: datetime
    client_id: str
    model: str
    version: str
    verdict: Verdict
    top_class: str
    confidence: float
    subject_id: UUID | None
    input_hash: bytes
    request_id: str
    gateway_id: str
    detail: Detail
    version_named: bool  # no weight chose it


def add_predictions(made: Sequence[NewPrediction]) -> None:
    """Raises IntegrityError when one of them is known already."""
    insert_rows(
        Prediction,
        [field.attname for field in Prediction._meta.concrete_fields],
        [
            (
                row.prediction_id,
                row.happened_at,
                row.client_id,
                row.model,
                row.version,
                row.verdict.value,
                row.top_class,
                row.confidence,
                row.subject_id,
                row.input_hash,
                row.request_id,
                row.gateway_id,
                row.detail.render(),
                row.version_named,
            )
            for row in made
        ],
    )


def add_feedback(feedback: Sequence[Feedback]) -> None:
    """Raises IntegrityError when one of them is known already."""
    Feedback.objects.bulk_create(feedback, batch_size=_ROWS_PER_STATEMENT)


@transaction.atomic
def erase(*, subject_id: UUID, prediction_ids: Collection[UUID]) -> int:
    """Delete a person's predictions, with what reviewers made of them, and all feedback on them. Returns how many rows.

    prediction_ids: those that are known to be, or to have been, this person's.
    """
    gone = Prediction.objects.filter(subject=subject_id).delete()[0]
    ids = sorted(prediction_ids)
    for start in range(0, len(ids), _ROWS_PER_STATEMENT):
        some = ids[start : start + _ROWS_PER_STATEMENT]
        gone += Prediction.objects.filter(pk__in=some).delete()[0]
        gone += Feedback.objects.filter(prediction_id__in=some).delete()[0]
    return gone


def forget_feedback(prediction_ids: Collection[UUID]) -> None:
    """Delete the feedback on predictions whose person was erased before they came; what was said of them came first."""
    if prediction_ids:
        Feedback.objects.filter(prediction_id__in=list(prediction_ids)).delete()


@transaction.atomic
def discard(prediction_ids: Collection[UUID]) -> None:
    """Delete predictions with what reviewers made of them and all feedback on them."""
    Prediction.objects.filter(pk__in=list(prediction_ids)).delete()
    Feedback.objects.filter(prediction_id__in=list(prediction_ids)).delete()


def discard_orphan_feedback(*, before: datetime) -> int:
    """Delete old feedback on predictions that are not here: what somebody said of what was erased. Returns how many."""
    known = Prediction.objects.filter(pk=OuterRef("prediction_id"))
    return Feedback.objects.filter(~Exists(known), happened_at__lt=before).delete()[0]
