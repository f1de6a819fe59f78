"""The photographs that moved most: the newest kept ones in the part of a distribution that grew.

What this costs is bounded: of the newest answers so many are looked at, along an index by time, and only
those are read of which a photograph is kept. Whoever may not see photographs gets none; of items whose answer
is withheld until an expert has spoken, nobody does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from console.drift.measures import measure
from console.drift.models import Finding
from console.drift.statistics import points_of
from console.predictions.models import Prediction, Verdict
from console.predictions.queries import free_for
from console.staff.models import User
from console.vault import queries as vault
from model_store.reference import Reference, Sketch

LOOKED_AT: Final = 500  # answers of a version or client, the newest
READ: Final = 200  # of those with a photograph
SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Tail:
    """The values on one side of a bound; the bound itself is on the lower one."""

    bound: float
    is_low: bool
    before: float  # which share of values lay there, 0 to 1
    now: float

    def has(self, value: float) -> bool:
        return (value <= self.bound) == self.is_low

    def depth(self, value: float) -> float:
        """The greater, the further out."""
        return -value if self.is_low else value


@dataclass(frozen=True, slots=True)
class Grown:
    """One choice whose share grew, and from what to what."""

    choice: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Moved:
    """One photograph, by its prediction."""

    prediction_id: UUID
    happened_at: datetime
    top_class: str
    value: float | None  # of the measure; None where it is a choice


def tail_that_grew(before: Sketch, now: Sketch) -> Tail | None:
    """Where two distributions of a number lie furthest apart, the side with more now; None where they are alike.

    Raises ValueError when one is empty.
    """
    points = points_of(before, now)
    ranks = list(zip(points, before.ranks(points), now.ranks(points), strict=True))
    bound, first, second = max(ranks, key=lambda rank: abs(rank[2] - rank[1]))
    if first == second:
        return None
    low = second > first
    return Tail(bound, low, first if low else 1 - first, second if low else 1 - second)


def choice_that_grew(before: Mapping[str, int], now: Mapping[str, int]) -> Grown | None:
    """The choice whose share grew most; None where none did."""
    n_before, n_now = sum(before.values()), sum(now.values())
    if not n_before or not n_now:
        return None
    shares = [Grown(key, before.get(key, 0) / n_before, count / n_now) for key, count in sorted(now.items())]
    most = max(shares, key=lambda share: share.now - share.before)
    return most if most.now > most.before else None


def what_grew(measure_name: str, before: Reference, now: Reference) -> Tail | Grown | None:
    """The tail or the choice of one measure; None where nothing grew or one side does not know the measure."""
    if measure_name in before.samples and measure_name in now.samples:
        return tail_that_grew(before.samples[measure_name], now.samples[measure_name])
    return choice_that_grew(before.counts.get(measure_name, {}), now.counts.get(measure_name, {}))


def may_see(person: User) -> bool:
    """Whether this person's roles open kept photographs."""
    return person.has_perms(("vault.open_storedobject", "predictions.view_prediction"))


def moved(row: Finding, grown: Tail | Grown, *, person: User, since: datetime, at: datetime) -> list[Moved]:
    """Of the newest answers since a time, those in the part that grew whose photograph this person may open.

    Of a number the furthest out first, of a choice the newest. Three queries, whatever the history.
    """
    if not may_see(person):
        return []
    newest = Prediction.objects.filter(happened_at__gte=since).order_by("-happened_at")
    # Client or version: with both, the rows of a rare client would be looked for among all of a version.
    newest = newest.filter(client_id=row.client) if row.client else newest.filter(**row.of._asdict())
    looked_at = newest.values_list("pk", "model", "version")[:LOOKED_AT]
    keys = [key for key, model, version in looked_at if (model, version) == row.of]
    kept = vault.first_photographs([str(key) for key in keys], at=at)
    wanted = [key for key in keys if str(key) in kept][:READ]
    rows = free_for(person, Prediction.objects.filter(pk__in=wanted)).order_by("-happened_at")
    found = [Moved(each.pk, each.happened_at, each.top_class, value) for each, value in _within(rows, row, grown)]
    if isinstance(grown, Tail):
        found.sort(key=lambda each: grown.depth(each.value or 0.0), reverse=True)
    return found[:SHOWN]


def _within(rows: Iterable[Prediction], row: Finding, grown: Tail | Grown) -> list[tuple[Prediction, float | None]]:
    found: list[tuple[Prediction, float | None]] = []
    for each in rows:
        measured = measure(
            confidence=each.confidence,
            verdict=Verdict(each.verdict),
            top_class=each.top_class,
            detail=each.detail(),
        )
        if isinstance(grown, Grown):
            if measured.choices.get(row.measure) == grown.choice:
                found.append((each, None))
        elif (value := measured.samples.get(row.measure)) is not None and grown.has(value):
            found.append((each, value))
    return found
