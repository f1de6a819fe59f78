"""How a person's own reviews went, and how far each two people agree. Nobody is ranked.

Of double reviews only those count of which every opinion was given: before, a figure would tell the next expert
what was said.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Avg, Count, Exists, F, OuterRef, Q, QuerySet

from console.review.agreement import CASES_MIN, Concord, cohen
from console.review.models import VOICES, ExpertDecision, GoldAnswer, Part
from console.review.queries import with_fresh_known
from console.staff.models import User

SPAN: Final = timedelta(days=90)  # of what a person sees of their own reviews
PAIR_MIN: Final = CASES_MIN  # photographs that two people judged both


@dataclass(frozen=True, slots=True)
class Own:
    """One person's reviews since a time."""

    decisions: int
    took_s: float | None  # mean
    blind: int  # of the decisions, how many before the model was heard
    shared: int  # photographs that others judged too
    alike: int  # of these, all said the same
    settled: int  # of the others, a third person has settled them
    stood: int  # of these, this person's answer was the one that counts


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people who judged the same photographs."""

    first: str
    second: str
    concord: Concord


def own_since(moment: datetime, *, expert: User) -> Own:
    """One person's figures since a time. Three queries over what that person said, and no row of theirs is read."""
    mine = ExpertDecision.objects.filter(expert=expert, decided_at__gte=moment)
    counted = mine.aggregate(decisions=Count("*"), took_s=Avg("took_s"), blind=Count("blind", filter=Q(blind=True)))
    said = ExpertDecision.objects.filter(item=OuterRef("item"))
    same = Q(decided=OuterRef("decided"), class_id=OuterRef("class_id"))
    settlement = said.filter(part=Part.SETTLEMENT)
    shared = (
        _complete(moment)
        .filter(expert=expert, part=Part.OPINION)
        .exclude(pk__in=ExpertDecision.fresh_opinions(expert).values("pk"))  # it can still change
        .annotate(
            differs=Exists(said.filter(part=Part.OPINION).exclude(same)),
            has_settlement=Exists(settlement),
            was_right=Exists(settlement.filter(same)),
        )
        .aggregate(
            shared=Count("*"),
            alike=Count("pk", filter=Q(differs=False)),
            settled=Count("pk", filter=Q(differs=True, has_settlement=True)),
            stood=Count("pk", filter=Q(differs=True, was_right=True)),
        )
    )
    decisions, took_s, blind = with_fresh_known(
        counted["decisions"], counted["took_s"], of=GoldAnswer.fresh().filter(expert=expert, answered_at__gte=moment)
    )
    return Own(decisions=decisions, took_s=took_s, blind=counted["blind"] + blind, **shared)


def pairs_since(moment: datetime) -> list[Pair]:
    """Each two people who judged at least PAIR_MIN photographs both since a time, by name. One query.

    How often each said what beside the other is counted where the decisions lie: rows are as many as pairs of
    answers, and not as many as photographs.
    """
    counted = (
        _complete(moment)
        .filter(
            part=Part.OPINION,
            item__decisions__part=Part.OPINION,
            item__decisions__decided_at__gte=moment,
            item__decisions__expert__gt=F("expert"),
        )
        .order_by()
        .values_list(
            "expert__username",
            "item__decisions__expert__username",
            "decided",
            "class_id",
            "item__decisions__decided",
            "item__decisions__class_id",
        )
        .annotate(times=Count("*"))
    )
    cases: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for first, second, decided, class_id, other_decided, other_class_id, times in counted:
        (first, one), (second, other) = sorted(
            [(first, f"{decided}:{class_id}"), (second, f"{other_decided}:{other_class_id}")]
        )
        cases[first, second] += times * [(one, other)]
    return [Pair(*names, cohen(found)) for names, found in sorted(cases.items()) if len(found) >= PAIR_MIN]


def _complete(moment: datetime) -> QuerySet[ExpertDecision]:
    """Opinions and settlements on what every expert who was wanted has judged."""
    return ExpertDecision.objects.filter(
        part__in=VOICES, decided_at__gte=moment, item__opinions__gte=F("item__opinions_wanted")
    )
