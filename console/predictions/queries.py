"""What is asked about predictions. Every list runs along an index by time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.timezone import now

from console.predictions.models import Feedback, Prediction, Span, Tally
from console.staff.models import User

_IDS_AT_ONCE: Final = 500


def newest_first() -> QuerySet[Prediction]:
    """Predictions along time; joins nothing."""
    return Prediction.objects.order_by("-happened_at", "-prediction_id")


def shown_to(person: User, rows: QuerySet[Prediction]) -> QuerySet[Prediction]:
    """Without those that this person may be, or is, asked about before the model is heard."""
    return free_for(person, rows) if person.has_perm("review.decide_reviewitem") else rows


def free_for(person: User, rows: QuerySet[Prediction]) -> QuerySet[Prediction]:
    """Those whose answer anybody may see now, without what this very person is asked about.

    Through the relations, since review stands above this app; a look-up by key for each row, and one of what the
    person is asked.
    """
    return not_withheld(rows).exclude(pk__in=_known_and_asked(person).values("pk"))


def not_withheld(rows: QuerySet[Prediction]) -> QuerySet[Prediction]:
    """Those whose answer anybody may see now."""
    return rows.exclude(review__withheld_until__gt=now())


def withheld_from(person: User, prediction_ids: Collection[str] | None = None) -> frozenset[str]:
    """Ids of the predictions, all or of these, whose answer must not reach this person yet. At most one query."""
    if not person.has_perm("review.decide_reviewitem"):
        return frozenset()
    waiting, known = Prediction.objects.filter(review__withheld_until__gt=now()), _known_and_asked(person)
    if prediction_ids is not None:
        waiting, known = (rows.filter(pk__in=list(prediction_ids)) for rows in (waiting, known))
    both = waiting.order_by().values_list("pk", flat=True).union(known.order_by().values_list("pk", flat=True))
    return frozenset(map(str, both))


def judged_anew(person: User, prediction_id: UUID) -> bool:
    """Whether this person is asked what others have decided already, and must not hear it yet. One query."""
    return _asked(person).filter(pk=prediction_id).exists()


def _known_and_asked(person: User) -> QuerySet[Prediction]:
    """Predictions whose answer is known and asked of this person before the model is heard."""
    return _asked(person, review__gold__answers__blind=True)


def _asked(person: User, **known: bool) -> QuerySet[Prediction]:
    return Prediction.objects.filter(
        review__gold__answers__expert=person, review__gold__answers__open_until__gt=now(), **known
    )


def before(rows: QuerySet[Prediction], happened_at: datetime, prediction_id: UUID) -> QuerySet[Prediction]:
    """The rest of a list that ended with that prediction: what a page costs does not depend on how deep it lies."""
    earlier = rows.filter(happened_at__lte=happened_at)
    return earlier.exclude(happened_at=happened_at, prediction_id__gte=prediction_id)


def of_restricted() -> QuerySet[Prediction]:
    """Predictions on people of whom what is kept is left alone. Along the partial index of those, who are few."""
    return Prediction.objects.filter(subject__restricted_at__isnull=False)


def feedback_on(prediction_ids: Collection[UUID]) -> Mapping[UUID, list[Feedback]]:
    """Feedback by prediction, oldest first. A query for some hundred predictions."""
    found: dict[UUID, list[Feedback]] = {}
    wanted = list(prediction_ids)
    for start in range(0, len(wanted), _IDS_AT_ONCE):
        some = wanted[start : start + _IDS_AT_ONCE]
        for feedback in Feedback.objects.filter(prediction_id__in=some).order_by("happened_at"):
            found.setdefault(feedback.prediction_id, []).append(feedback)
    return found


@dataclass(frozen=True, slots=True)
class Counted:
    """How many predictions of one kind fell into the span that begins then."""

    begins_at: datetime
    version: str
    verdict: int
    confidence_bin: int  # of Tally.BINS
    count: int


def counted_since(since: Mapping[Span, datetime]) -> Mapping[Span, list[Counted]]:
    """Tallies of hours, days or both, each from a time on, in order. One query, along the tallies' own index."""
    wanted = reduce(or_, (Q(span=span, begins_at__gte=moment) for span, moment in since.items()))
    found: dict[Span, list[Counted]] = {span: [] for span in since}
    columns = ("span", "begins_at", "version", "verdict", "confidence_bin", "count")
    for span, *rest in Tally.objects.filter(wanted).order_by("begins_at").values_list(*columns):
        found[Span(span)].append(Counted(*rest))
    return found
