"""The rules that end a rollout by themselves: each with what it compares, its limit and its least count.

A rule fires when the evidence that the watched version is worse than accepted reaches 1 : LEVEL.
The evidence is valid at every look (`sequential`), so the rules are read every few seconds and
a version that is no worse is ended by one rule in at most LEVEL of all rollouts, however long
they last: by any of a canary's four rules in at most 4 of 100.

What this rests on: who gets the canary is drawn by a hash, so both versions see the same mix of
callers and hours (answers of a version that its caller named are left out: nobody drew those); and
answers count as independent. One subject who sends the same photograph a thousand times is a
thousand answers: least counts and margins are there for that, no theorem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Q
from django.utils.timezone import now

from console.predictions.models import Verdict
from console.review.queries import overrides_since
from console.rollout.models import Arm, Mode, Route, Rule, What
from console.rollout.observations import NEW, Totals, totals
from console.rollout.sequential import (
    Count,
    above,
    different,
    different_on_the_same,
    higher,
    higher_on_the_same,
)

LEVEL: Final = 0.01
ENOUGH: Final = math.log(1 / LEVEL)


@dataclass(frozen=True, slots=True)
class Definition:
    """One rule for routes of one mode."""

    rule: Rule
    mode: Mode
    limit: float  # beyond production's share, or of the share itself where there is nothing to compare with
    count_min: int  # of the watched version's answers; below, nothing is decided
    evidence: Callable[[Count, Count, float], float]
    compares: bool  # with production, or with the limit alone


def _alone(watched: Count, _standard: Count, limit: float) -> float:
    return above(watched, limit)


DEFINITIONS: Final[tuple[Definition, ...]] = (
    Definition(Rule.ERRORS, Mode.CANARY, 0.01, 50, higher, compares=True),
    Definition(Rule.LATENCY, Mode.CANARY, 0.05, 100, higher, compares=True),
    Definition(Rule.VERDICTS, Mode.CANARY, 0.05, 100, different, compares=True),
    Definition(Rule.OVERRIDES, Mode.CANARY, 0.10, 20, higher, compares=True),
    Definition(Rule.LATENCY, Mode.SHADOW, 0.05, 100, higher_on_the_same, compares=True),
    Definition(Rule.VERDICTS, Mode.SHADOW, 0.05, 100, different_on_the_same, compares=True),
    Definition(Rule.AGREEMENT, Mode.SHADOW, 0.15, 100, _alone, compares=False),
    Definition(Rule.ERRORS, Mode.PRODUCTION, 0.05, 50, _alone, compares=False),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A rule and what it has seen so far."""

    definition: Definition
    watched: Count
    standard: Count | None  # production's; None where the rule compares with its limit alone
    log_evidence: float
    is_off: bool

    @property
    def fires(self) -> bool:
        enough = self.watched.n >= self.definition.count_min
        return not self.is_off and enough and self.log_evidence >= ENOUGH

    @property
    def progress(self) -> float:
        """How much of the evidence that it takes is there, 0 to 1."""
        return max(0.0, min(1.0, self.log_evidence / ENOUGH))


def rules_for(mode: Mode) -> tuple[Definition, ...]:
    """The rules that watch routes of this mode."""
    return tuple(definition for definition in DEFINITIONS if definition.mode is mode)


def is_watched(route: Route, at: datetime) -> bool:
    """Whether guardrails act on this route: production is rolled back in its first day, where that leads somewhere."""
    if route.ended_at is not None:
        return False
    return route.mode != Mode.PRODUCTION or (route.previous_id is not None and at < route.started_at + NEW)


def read(route: Route, seen: Totals | None = None, *, fresh: bool = True) -> Sequence[Reading]:
    """Every rule of this route, read now. Three queries at most.

    fresh: with what experts can still take back, which a bad version must not wait for. Without it for whoever looks:
    one override more would tell who answered blind, a moment ago, what the model had said.
    """
    seen = totals(route) if seen is None else seen
    counts = _counts(route, seen, fresh=fresh)
    readings = []
    for definition in rules_for(Mode(route.mode)):
        watched, production = counts[definition.rule]
        readings.append(
            Reading(
                definition=definition,
                watched=watched,
                standard=production if definition.compares else None,
                log_evidence=definition.evidence(watched, production, definition.limit),
                is_off=definition.rule in route.unguarded,
            )
        )
    return readings


def _counts(route: Route, seen: Totals, *, fresh: bool) -> Mapping[Rule, tuple[Count, Count]]:
    """What each rule counts, of the watched version and of production."""

    def both(one: Callable[[Arm], Count]) -> tuple[Count, Count]:
        return one(Arm.WATCHED), one(Arm.PRODUCTION)

    found = {
        Rule.ERRORS: both(lambda arm: _errors(seen, arm)),
        Rule.LATENCY: both(lambda arm: Count(seen.n(arm, What.SLOW), seen.n(arm, What.LATENCY))),
        Rule.VERDICTS: both(lambda arm: _not_in_domain(seen, arm)),
        Rule.AGREEMENT: (_disagreement(seen), Count(0, 0)),
    }
    if route.mode == Mode.CANARY:
        found[Rule.OVERRIDES] = _overrides(route, fresh=fresh)
    return found


def _errors(seen: Totals, arm: Arm) -> Count:
    failed = seen.n(arm, What.FAILED)
    return Count(failed, failed + seen.n(arm, What.VERDICT))


def _not_in_domain(seen: Totals, arm: Arm) -> Count:
    verdicts = seen.verdicts(arm)
    whole = sum(verdicts.values())
    return Count(whole - verdicts[Verdict.IN_DOMAIN], whole)


def _disagreement(seen: Totals) -> Count:
    pairs = seen.of(Arm.BOTH, What.CLASS)
    return Count(sum(count for (one, other), count in pairs.items() if one != other), sum(pairs.values()))


def _overrides(route: Route, *, fresh: bool) -> tuple[Count, Count]:
    moment = now()
    # One that began in times to come did so before the clock was set back.
    since = route.started_at if route.started_at <= moment else moment - NEW
    found = overrides_since(since, model=route.model, fresh=fresh)
    overridden, decided = found.get(route.version.version, (0, 0))
    others = found.keys() - {route.version.version}
    standard = [found[version] for version in others & _in_production(route.model, since)] if others else []
    return Count(overridden, decided), Count(sum(yes for yes, _n in standard), sum(n for _yes, n in standard))


def _in_production(model: str, since: datetime) -> set[str]:
    """Versions that were, or are, since a time. Gateways may follow routes that have ended; and of old answers nobody
    knows whether a caller named a shadow.
    """
    beside = Route.objects.filter(Q(ended_at=None) | Q(ended_at__gt=since), model=model, mode=Mode.PRODUCTION)
    return set(beside.values_list("version__version", flat=True))
