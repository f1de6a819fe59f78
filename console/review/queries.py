"""What is asked of the review queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Avg, Count, Q, QuerySet

from console.review.models import ExpertDecision, ReviewItem, State, Why


@dataclass(frozen=True, slots=True)
class Agreement:
    """What experts decided since a time."""

    decisions: int
    agreed: int
    compared: int  # decisions that agree or disagree; the others could not tell
    took_s: float | None  # mean

    @property
    def ratio(self) -> float | None:
        return self.agreed / self.compared if self.compared else None


def open_count() -> int:
    """How many items wait for a person."""
    return ReviewItem.objects.filter(state=State.OPEN).count()


def open_by_why() -> Mapping[Why, int]:
    """How many items wait, by reason. One query along the partial index of open items."""
    rows = ReviewItem.objects.filter(state=State.OPEN).values_list("why").annotate(Count("pk")).order_by()
    return {Why(why): count for why, count in rows}


def items() -> QuerySet[ReviewItem]:
    """Items with their prediction and whoever holds them, in one query."""
    return ReviewItem.objects.select_related("prediction", "held_by")


def decisions_on(prediction_id: UUID) -> QuerySet[ExpertDecision]:
    """Decisions on one prediction, the one in force first; joins the expert."""
    return ExpertDecision.objects.select_related("expert").filter(item__prediction=prediction_id).order_by("-round")


def agreement_since(moment: datetime) -> Agreement:
    """Experts against the model since a time. One query along the index by time."""
    counted = ExpertDecision.objects.filter(decided_at__gte=moment).aggregate(
        decisions=Count("pk"),
        agreed=Count("pk", filter=Q(agrees=True)),
        compared=Count("pk", filter=Q(agrees__isnull=False)),
        took_s=Avg("took_s"),
    )
    return Agreement(**counted)


def longest_waiting(most: int) -> list[ReviewItem]:
    """Open items, the oldest first, with their predictions. One query along the index by state and age."""
    return list(items().filter(state=State.OPEN).order_by("created_at")[:most])
