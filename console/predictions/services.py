"""What writes predictions and feedback: ingest only, inside its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from console.predictions.models import Feedback, Prediction

_ROWS_PER_STATEMENT: Final = 500


def add_predictions(predictions: Sequence[Prediction]) -> None:
    """Raises IntegrityError when one of them is known already."""
    Prediction.objects.bulk_create(predictions, batch_size=_ROWS_PER_STATEMENT)


def add_feedback(feedback: Sequence[Feedback]) -> None:
    """Raises IntegrityError when one of them is known already."""
    Feedback.objects.bulk_create(feedback, batch_size=_ROWS_PER_STATEMENT)
