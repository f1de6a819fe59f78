"""A shadow beside production on the same photographs: agreement, flips, verdicts, time, and who was right."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.utils.timezone import now

from console.predictions.detail import Shadow
from console.predictions.models import Prediction, Verdict
from console.predictions.queries import not_withheld
from console.review.queries import classes_decided
from console.rollout.models import Arm, Mode, Route, What
from console.rollout.observations import Totals, latency_quantile
from console.rollout.sequential import Count
from console.spelling import composed

LOOKED_AT: Final = 1000  # newest answers, in search of flips
FLIPS_SHOWN: Final = 6
REVIEWED_MOST: Final = 1000
QUANTILES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Flip:
    """Photographs that production gave one class and the shadow another."""

    production: str
    shadow: str
    count: int
    ratio: float  # of what production gave that class


@dataclass(frozen=True, slots=True)
class Flipped:
    """One such answer. Whether its photograph may be seen is another question."""

    prediction_id: UUID
    request_id: str  # the caller's own; empty: none was sent
    happened_at: datetime
    production: str
    production_confidence: float
    shadow: str
    shadow_confidence: float


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One side's answers to the photographs that experts gave a class."""

    right: Count
    confidence: float  # mean
    brier: float  # mean squared distance between confidence and being right

    @property
    def gap(self) -> float:
        """How much surer it is than right; below 0: less sure. Guo et al. 2017 call its size the calibration error."""
        return self.confidence - (self.right.share or 0.0)


@dataclass(frozen=True, slots=True)
class Comparison:
    same_class: Count  # of the photographs that both answered
    unanswered: int  # by the shadow alone
    flips: Sequence[Flip]  # most frequent first
    verdicts: Mapping[tuple[Verdict, Verdict], int]  # production's, the shadow's
    out: tuple[Count, Count]  # out of distribution: production, shadow
    confidence: tuple[Mapping[int, int], Mapping[int, int]]  # twentieth -> answers: production, shadow
    latency_ms: tuple[Sequence[float | None], Sequence[float | None]]  # at QUANTILES: production, shadow
    reviewed: tuple[Reviewed, Reviewed] | None  # production, shadow; None where experts decided nothing yet
    flipped: Sequence[Flipped]  # newest first


def compare(route: Route, seen: Totals) -> Comparison:
    """Everything about one shadow: counts, at most LOOKED_AT answers and REVIEWED_MOST decisions, in four queries."""
    pairs = seen.of(Arm.BOTH, What.CLASS)
    until = route.ended_at or now()
    versions = _production_versions(route, until)
    return Comparison(
        same_class=Count(sum(n for (one, other), n in pairs.items() if one == other), sum(pairs.values())),
        unanswered=seen.n(Arm.WATCHED, What.UNANSWERED),
        flips=_flips(pairs),
        verdicts={
            (Verdict(int(one)), Verdict(int(other))): n for (one, other), n in seen.of(Arm.BOTH, What.VERDICT).items()
        },
        out=(_out(seen, Arm.PRODUCTION), _out(seen, Arm.WATCHED)),
        confidence=(_confidence(seen, Arm.PRODUCTION), _confidence(seen, Arm.WATCHED)),
        latency_ms=(latencies(seen, Arm.PRODUCTION), latencies(seen, Arm.WATCHED)),
        reviewed=_reviewed(route, until, versions),
        flipped=_flipped(route, until, versions),
    )


def latencies(seen: Totals, arm: Arm) -> Sequence[float | None]:
    """Milliseconds of the graph's run at each of QUANTILES."""
    return [latency_quantile(seen.of(arm, What.LATENCY), ratio) for ratio in QUANTILES]


def _flips(pairs: Mapping[tuple[str, str], int]) -> Sequence[Flip]:
    of_class: dict[str, int] = {}
    for (one, _other), count in pairs.items():
        of_class[one] = of_class.get(one, 0) + count
    flips = [Flip(one, other, count, count / of_class[one]) for (one, other), count in pairs.items() if one != other]
    return sorted(flips, key=lambda flip: (-flip.count, flip.production, flip.shadow))


def _out(seen: Totals, arm: Arm) -> Count:
    verdicts = seen.verdicts(arm)
    return Count(verdicts[Verdict.OUT_OF_DISTRIBUTION], sum(verdicts.values()))


def _confidence(seen: Totals, arm: Arm) -> Mapping[int, int]:
    return {int(key): count for (key, _other), count in seen.of(arm, What.CONFIDENCE).items()}


def _production_versions(route: Route, until: datetime) -> set[str]:
    beside = Route.objects.filter(model=route.model, mode=Mode.PRODUCTION, started_at__lt=until)
    beside = beside.exclude(ended_at__lte=route.started_at)
    return set(beside.values_list("version__version", flat=True))


def _shadow_in(document: Mapping[str, object], version: str) -> Shadow | None:
    shadows = document.get("shadows") or ()
    assert isinstance(shadows, list | tuple)
    return next((Shadow(**shadow) for shadow in shadows if shadow["version"] == version), None)


def _flipped(route: Route, until: datetime, versions: Collection[str]) -> Sequence[Flipped]:
    newest = not_withheld(
        Prediction.objects.filter(
            version__in=versions, model=route.model, happened_at__gte=route.started_at, happened_at__lt=until
        )
    )
    columns = ("pk", "request_id", "happened_at", "top_class", "confidence", "detail_document")
    found: list[Flipped] = []
    for key, asked, at, top_class, confidence, document in newest.order_by("-happened_at").values_list(*columns)[
        :LOOKED_AT
    ]:
        shadow = _shadow_in(document, route.version.version)
        if shadow is None:
            continue
        production, other = composed(top_class), composed(shadow.top_class)
        if production != other:
            found.append(Flipped(key, asked, at, production, confidence, other, shadow.confidence))
            if len(found) == FLIPS_SHOWN:
                break
    return found


def _reviewed(route: Route, until: datetime, versions: Collection[str]) -> tuple[Reviewed, Reviewed] | None:
    """Only photographs that a person looked at: mostly the hard ones, so neither share is the accuracy on all."""
    sides: tuple[list[tuple[bool, float]], list[tuple[bool, float]]] = ([], [])
    decided = classes_decided(route.started_at, until, model=route.model, versions=versions, most=REVIEWED_MOST)
    for decision in decided:
        prediction = decision.item.prediction
        shadow = _shadow_in(prediction.detail_document, route.version.version)
        if shadow is None:
            continue
        decided_class = composed(decision.class_id)
        sides[0].append((composed(prediction.top_class) == decided_class, prediction.confidence))
        sides[1].append((composed(shadow.top_class) == decided_class, shadow.confidence))
    return (_side(sides[0]), _side(sides[1])) if sides[0] else None


def _side(answers: Sequence[tuple[bool, float]]) -> Reviewed:
    n = len(answers)
    return Reviewed(
        right=Count(sum(right for right, _confidence in answers), n),
        confidence=sum(confidence for _right, confidence in answers) / n,
        brier=sum((confidence - right) ** 2 for right, confidence in answers) / n,
    )
