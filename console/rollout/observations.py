"""What watched routes say beside production, counted as events come in; and the counts, read back.

Ingest calls `observe` in the transaction of its batch, so an answer counts exactly once. It
belongs to the routes that were in force when it was given. Answers of a version that its caller
named are left out: nobody drew who gets them, so they say nothing about a share.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils.timezone import now

from console.counters import add_counts
from console.predictions.detail import Shadow
from console.predictions.models import Verdict
from console.rollout.models import Arm, Mode, Observed, Route, What
from console.spelling import composed
from console.vault.services import CLOCKS_DIFFER_MAX

CONFIDENCE_BINS: Final = 20
LATENCY_BINS: Final = 60
NEW: Final = timedelta(hours=24)  # so long a production version is new, and watched
_KEY: Final = ("route_id", "arm", "what", "key", "other")
_Kinds = Counter[tuple[int, str, str, str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is counted of one answer: production's, a canary's or a shadow's."""

    verdict: int
    top_class: str
    confidence: float  # 0 to 1
    inference_ms: float


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that left, with what shadows said of the same photographs."""

    happened_at: datetime
    model: str
    version: str
    answer: Answer
    shadows: tuple[Shadow, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """Calls that a version should have answered and did not."""

    happened_at: datetime
    model: str
    version: str
    reason: str
    calls: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Everything that was counted for one route."""

    counts: Mapping[tuple[Arm, What], Mapping[tuple[str, str], int]]

    def of(self, arm: Arm, what: What) -> Mapping[tuple[str, str], int]:
        """(key, other) -> how often."""
        return self.counts.get((arm, what), {})

    def n(self, arm: Arm, what: What) -> int:
        return sum(self.of(arm, what).values())

    def verdicts(self, arm: Arm) -> Mapping[Verdict, int]:
        found = self.of(arm, What.VERDICT)
        return {verdict: found.get((str(verdict.value), ""), 0) for verdict in Verdict}


def observe(given: Sequence[Given], failed: Sequence[Failed]) -> None:
    """Count what came in, inside the caller's transaction. Two statements where something is watched, else one."""
    moments = [*(item.happened_at for item in given), *(item.happened_at for item in failed)]
    if not moments:
        return
    in_force = _Routes.since(min(moments))
    kinds: _Kinds = Counter()
    for item in given:
        for route in in_force.watching(item.model, item.happened_at):
            if route.mode == Mode.SHADOW:
                _pair(kinds, in_force, route, item)
            elif item.version == route.version.version:
                _alone(kinds, route, Arm.WATCHED, item.answer)
            elif route.mode == Mode.CANARY and in_force.is_production(item):
                _alone(kinds, route, Arm.PRODUCTION, item.answer)
    for calls in failed:
        for route in in_force.watching(calls.model, calls.happened_at):
            arm = Arm.WATCHED if calls.version == route.version.version else None
            if arm is None and route.mode == Mode.CANARY and in_force.is_production(calls):
                arm = Arm.PRODUCTION
            if arm is not None:
                kinds[route.pk, arm, What.FAILED, calls.reason, ""] += calls.calls
    if kinds:
        add_counts(Observed, _KEY, kinds)


def observe_late(given: Sequence[Given]) -> None:
    """Count answers of shadows that follow production's, which was counted as unanswered, inside the transaction."""
    if not given:
        return
    in_force = _Routes.since(min(item.happened_at for item in given))
    kinds: _Kinds = Counter()
    for item in given:
        for route in in_force.watching(item.model, item.happened_at):
            if route.mode == Mode.SHADOW and any(each.version == route.version.version for each in item.shadows):
                _pair(kinds, in_force, route, item)
                if in_force.is_production(item):
                    kinds[route.pk, Arm.WATCHED, What.UNANSWERED, "", ""] -= 1
    if kinds:
        add_counts(Observed, _KEY, kinds)


def totals(route: Route) -> Totals:
    """One query over as many rows as there are kinds. A class that two versions spell in two ways is one."""
    found: dict[tuple[Arm, What], Counter[tuple[str, str]]] = defaultdict(Counter)
    rows = Observed.objects.filter(route=route).values_list("arm", "what", "key", "other", "count")
    for arm, what, key, other, count in rows:
        kind = (composed(key), composed(other)) if what == What.CLASS else (key, other)
        found[Arm(arm), What(what)][kind] += count
    return Totals(found)


def latency_bin(milliseconds: float) -> int:
    """Quarters of a doubling from 1 ms: a value is known to 19 per cent."""
    return min(LATENCY_BINS - 1, max(0, math.floor(4 * math.log2(milliseconds)))) if milliseconds > 0 else 0


def latency_quantile(counts: Mapping[tuple[str, str], int], ratio: float) -> float | None:
    """The upper end, in ms, of the bin in which that share of the answers is reached; None without answers."""
    whole, below = sum(counts.values()), 0
    for number, count in sorted((int(key), count) for (key, _other), count in counts.items()):
        below += count
        if below >= ratio * whole:
            return float(2 ** ((number + 1) / 4))
    return None


class _Routes:
    """Routes that may have been in force since a time, by model."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._latest = now() + CLOCKS_DIFFER_MAX
        self._by_model: dict[str, list[Route]] = defaultdict(list)
        for route in routes:
            self._by_model[route.model].append(route)

    @classmethod
    def since(cls, moment: datetime) -> _Routes:
        still = Q(ended_at=None) | Q(ended_at__gt=moment)
        return cls(Route.objects.filter(still).select_related("version").only("version__version", *_COLUMNS))

    def watching(self, model: str, at: datetime) -> Iterable[Route]:
        for route in self._by_model.get(model, ()):
            if self._in_force(route, at) and (route.mode != Mode.PRODUCTION or at < route.started_at + NEW):
                yield route

    def is_production(self, item: Given | Failed) -> bool:
        """Whether this version was in production when it answered."""
        return any(
            route.mode == Mode.PRODUCTION
            and route.version.version == item.version
            and self._in_force(route, item.happened_at)
            for route in self._by_model.get(item.model, ())
        )

    def _in_force(self, route: Route, at: datetime) -> bool:
        """What began or ended in times to come did so before the clock was set back; when, nobody knows."""
        began = route.started_at <= at or route.started_at > self._latest
        ended = route.ended_at is not None and (route.ended_at <= at or route.ended_at > self._latest)
        return began and not ended


_COLUMNS: Final = ("model", "mode", "started_at", "ended_at", "slow_ms")


def _alone(kinds: _Kinds, route: Route, arm: Arm, answer: Answer) -> None:
    confidence = min(CONFIDENCE_BINS - 1, int(answer.confidence * CONFIDENCE_BINS))
    kinds[route.pk, arm, What.VERDICT, str(answer.verdict), ""] += 1
    kinds[route.pk, arm, What.CONFIDENCE, str(confidence), ""] += 1
    kinds[route.pk, arm, What.LATENCY, str(latency_bin(answer.inference_ms)), ""] += 1
    if answer.inference_ms > route.slow_ms:
        kinds[route.pk, arm, What.SLOW, "", ""] += 1


def _pair(kinds: _Kinds, in_force: _Routes, route: Route, item: Given) -> None:
    """A shadow is compared with production alone, and only where both answered."""
    if not in_force.is_production(item):
        return
    shadow = next((shadow for shadow in item.shadows if shadow.version == route.version.version), None)
    if shadow is None:
        kinds[route.pk, Arm.WATCHED, What.UNANSWERED, "", ""] += 1
        return
    said = Answer(shadow.verdict, shadow.top_class, shadow.confidence, shadow.inference_ms)
    _alone(kinds, route, Arm.WATCHED, said)
    _alone(kinds, route, Arm.PRODUCTION, item.answer)
    kinds[route.pk, Arm.BOTH, What.CLASS, item.answer.top_class, said.top_class] += 1
    kinds[route.pk, Arm.BOTH, What.VERDICT, str(item.answer.verdict), str(said.verdict)] += 1
