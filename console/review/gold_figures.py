"""How answers compare with what is known. Nobody is ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Count, Q, QuerySet
from django.utils.timezone import now

from console.review.agreement import Share, wilson
from console.review.models import TAKE_BACK, GoldAnswer, GoldItem
from console.staff.models import User

PERSON_MIN: Final = 10  # answers; of fewer, a share says nothing
MISSED_SHOWN: Final = 12
# Where most answers are wrong, it is rather the known answer that is.
DOUBTFUL_MIN: Final = 3


@dataclass(frozen=True, slots=True)
class Own:
    """One person's answers to what is known."""

    right: Share
    missed: Sequence[GoldAnswer]  # newest first, joined with what is known; at most MISSED_SHOWN


@dataclass(frozen=True, slots=True)
class Person:
    """What whoever leads the reviewers sees of one of them."""

    name: str
    right: Share


def own_since(moment: datetime, *, expert: User) -> Own:
    """One person's figures since a time. Two queries.

    A fresh answer is left out while it can be taken back: the page would say what is right.
    """
    mine = _counted(moment).filter(expert=expert, answered_at__lt=now() - TAKE_BACK)
    counted = mine.aggregate(
        n=Count("pk"),
        right=Count("pk", filter=Q(right=True)),
    )
    missed = mine.filter(right=False).select_related("gold__item__prediction").order_by("-answered_at")
    return Own(
        right=wilson(counted["right"], counted["n"]),
        missed=list(missed[:MISSED_SHOWN]),
    )


def people_since(moment: datetime) -> list[Person]:
    """Everybody with at least PERSON_MIN answers since a time, by name. One query."""
    rows = (
        _counted(moment)
        .values_list("expert__username")
        .annotate(n=Count("pk"), right=Count("pk", filter=Q(right=True)))
        .filter(n__gte=PERSON_MIN)
        .order_by("expert__username")
    )
    return [Person(name, wilson(right, n)) for name, n, right in rows]


def _counted(moment: datetime) -> QuerySet[GoldAnswer]:
    return GoldAnswer.objects.filter(answered_at__gte=moment, gold__wrong=False)


def known_answers() -> QuerySet[GoldItem]:
    """All of them, newest first, with how many answered (`answered`) and how many of these rightly (`agreed`)."""
    return GoldItem.objects.select_related("item__prediction", "made_by").annotate(
        answered=Count("answers", filter=Q(answers__answered_at__isnull=False)),
        agreed=Count("answers", filter=Q(answers__right=True)),
    )


def is_doubtful(gold: GoldItem) -> bool:
    """Whether most people say something else. Of a row of `known_answers`."""
    answered, agreed = gold.answered, gold.agreed  # type: ignore[attr-defined]  # annotated
    return bool(answered >= DOUBTFUL_MIN and 2 * agreed < answered)
