"""How a person's own reviews went, and how far each two people agree. Nobody is ranked.

Of double reviews only those count of which every opinion was given: before, a figure would tell the next expert
what was said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Final

from django.db.models import Avg, Count, F, Q, QuerySet

from console.review.agreement import Concord, cohen
from console.review.models import VOICES, ExpertDecision, Part
from console.staff.models import User

SPAN: Final = timedelta(days=90)  # of what a person sees of their own reviews
PAIR_MIN: Final = 20  # photographs that two people judged both; of fewer, kappa says nothing


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
    """One person's figures since a time. Two queries over that person's decisions."""
    mine = ExpertDecision.objects.filter(expert=expert, decided_at__gte=moment)
    counted = mine.aggregate(decisions=Count("*"), took_s=Avg("took_s"), blind=Count("blind", filter=Q(blind=True)))
    shared = alike = settled = stood = 0
    for said in _said(_complete(moment).filter(item__in=mine.filter(part=Part.OPINION).values("item"))).values():
        shared += 1
        opinions = {word for part, _name, word in said if part == Part.OPINION}
        if len(opinions) == 1:
            alike += 1
            continue
        settlement = next((word for part, _name, word in said if part == Part.SETTLEMENT), None)
        if settlement is not None:
            settled += 1
            stood += any(name == expert.get_username() and word == settlement for _part, name, word in said)
    return Own(**counted, shared=shared, alike=alike, settled=settled, stood=stood)


def pairs_since(moment: datetime) -> list[Pair]:
    """Each two people who judged at least PAIR_MIN photographs both since a time, by name. One query."""
    cases: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in _said(_complete(moment).filter(part=Part.OPINION)).values():
        by_name = sorted((name, word) for _part, name, word in said)
        for (first, one), (second, other) in combinations(by_name, 2):
            cases[first, second].append((one, other))
    return [Pair(*names, cohen(found)) for names, found in sorted(cases.items()) if len(found) >= PAIR_MIN]


def _complete(moment: datetime) -> QuerySet[ExpertDecision]:
    """Opinions and settlements on what every expert who was wanted has judged."""
    return ExpertDecision.objects.filter(
        part__in=VOICES, decided_at__gte=moment, item__opinions__gte=F("item__opinions_wanted")
    )


def _said(rows: QuerySet[ExpertDecision]) -> Mapping[int, list[tuple[Part, str, str]]]:
    """Item -> part, name and answer of each who judged it."""
    found: dict[int, list[tuple[Part, str, str]]] = defaultdict(list)
    columns = ("item", "part", "expert__username", "decided", "class_id")
    for item, part, name, decided, class_id in rows.order_by("item", "round").values_list(*columns):
        found[item].append((Part(part), name, f"{decided}:{class_id}"))
    return found
