"""How right each version is expected to be: what the estimates of `performance` are made of, read and put together.

Answers are counted in the tallies, by day and cell; of reviews only what experts decided is read. A part of the
queue is told from verdict and confidence, as `console.review.services.why_review` does, but for what callers flagged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import add
from typing import Final

from django.db.models import Count, F, Q
from django.db.models.functions import Floor, TruncDay

from console.drift import queries
from console.drift.performance import Cells, Judged, Part, estimate, fit, from_confidence
from console.predictions.models import Span, Tally, Verdict
from console.predictions.tallies import begin_of
from console.registry.models import ModelVersion
from console.review.agreement import Share
from console.review.models import ExpertDecision, ReviewItem, State, Why
from console.review.queries import told
from console.review.services import why_review
from model_store.reference import Reference

DAYS: Final = 30
VERSIONS_MAX: Final = 8  # those with the most answers
_Key = tuple[str, str]  # model, version
_BIN: Final = Floor(F("prediction__confidence") * Tally.BINS)
_WHYS: Final = tuple(Why)


@dataclass(frozen=True, slots=True)
class Expected:
    """One version since a day. Shares are of all its answers, as experts would confirm them."""

    model: str
    version: str
    answers: int
    from_confidence: float | None  # without any label; None: its archive does not say how sure it was in training
    from_reviews: Share | None  # labels alone; None: nothing was reviewed
    corrected: Share | None  # both together
    factor: float  # how far confidence is believed, 0 to 1
    days: Mapping[datetime, Share]  # days that have answers, as far as confidence and this month's reviews tell


def expected_since(begins_at: datetime) -> list[Expected]:
    """The versions with the most answers since the day that begins then, most first. Four queries.

    What this reads grows with what experts decided and callers flagged, and not with the traffic.
    """
    cells = _tallied(begins_at)
    totals = {key: sum(sum(counter.values()) for counter in days.values()) for key, days in cells.items()}
    most = sorted(totals, key=lambda key: (-totals[key], key))[:VERSIONS_MAX]
    if not most:
        return []
    flagged, judged = _flagged(begins_at), _judged(begins_at)
    rows = ModelVersion.objects.filter(version__in={version for _model, version in most}).order_by("pk")
    trained = {(row.model, row.version): row for row in rows}
    return [_expected(key, cells[key], flagged.get(key, {}), judged.get(key, {}), trained.get(key)) for key in most]


def window_begins(at: datetime) -> datetime:
    """The first of the days that are looked at."""
    return begin_of(Span.DAY, at - timedelta(days=DAYS - 1))


_Cell = tuple[Why, int]  # part of the queue, twentieth of confidence
_ByDay = Mapping[datetime, Counter[_Cell]]


def _expected(
    key: _Key,
    days: _ByDay,
    flagged: _ByDay,
    judged: Mapping[Why, Sequence[Judged]],
    trained: ModelVersion | None,
) -> Expected:
    by_day = {day: _parted(counter, flagged.get(day, Counter())) for day, counter in days.items()}
    whole: list[Counter[int]] = [
        reduce(add, (Counter(cells[place]) for cells in by_day.values()), Counter()) for place in range(len(_WHYS))
    ]
    # Decided since the answers were counted: never more judged than there are.
    parts = [
        Part(cells, found) if sum(each.compared for each in found) <= cells.total() else Part(cells)
        for cells, found in zip(whole, (tuple(judged.get(why, ())) for why in _WHYS), strict=True)
    ]
    fitted = fit(parts)
    estimated = {day: estimate(cells, fitted.elsewhere()) for day, cells in by_day.items()}
    return Expected(
        model=key[0],
        version=key[1],
        answers=sum(part.answers for part in parts),
        from_confidence=_from_confidence(trained, reduce(add, whole, Counter())),
        from_reviews=estimate([part.cells for part in parts], fit(parts, believed=False)),
        corrected=estimate([part.cells for part in parts], fitted),
        factor=fitted.factor,
        days={day: share for day, share in estimated.items() if share is not None},
    )


def _parted(counter: Counter[_Cell], flagged: Counter[_Cell]) -> list[Cells]:
    """The cells of a day by part: what was flagged is taken from where it would have been."""
    found: dict[Why, Counter[int]] = {why: Counter() for why in _WHYS}
    for (why, place), count in counter.items():
        taken = min(count, flagged[why, place])
        found[why][place] += count - taken
        found[Why.FLAGGED][place] += taken
    return [found[why] for why in _WHYS]


def _cell(verdict: int, place: float) -> _Cell:
    kept = min(Tally.BINS - 1, int(place))
    why = why_review(verdict=Verdict(verdict), confidence=kept / Tally.BINS, wants_review=True)
    return why or Why.SAMPLED, kept


def _tallied(begins_at: datetime) -> Mapping[_Key, _ByDay]:
    rows = Tally.objects.filter(span=Span.DAY, begins_at__gte=begins_at).order_by()
    found: dict[_Key, dict[datetime, Counter[_Cell]]] = defaultdict(lambda: defaultdict(Counter))
    columns = ("model", "version", "begins_at", "verdict", "confidence_bin", "count")
    for model, version, day, verdict, place, count in rows.values_list(*columns):
        found[model, version][day][_cell(verdict, place)] += count
    return found


def _flagged(begins_at: datetime) -> Mapping[_Key, _ByDay]:
    """By the part that they would have been in. Along the index by reason."""
    rows = (
        ReviewItem.objects.filter(why=Why.FLAGGED, created_at__gte=begins_at, prediction__happened_at__gte=begins_at)
        .annotate(place=_BIN, day=TruncDay("prediction__happened_at"))
        .values_list("prediction__model", "prediction__version", "day", "prediction__verdict", "place")
        .annotate(n=Count("pk"))
        .order_by()
    )
    found: dict[_Key, dict[datetime, Counter[_Cell]]] = defaultdict(lambda: defaultdict(Counter))
    for model, version, day, verdict, place, count in rows:
        found[model, version][day][_cell(verdict, place)] += count
    return found


def _judged(begins_at: datetime) -> Mapping[_Key, Mapping[Why, Sequence[Judged]]]:
    """Decisions in force, along the index by time, without fresh ones of which nobody may be told yet."""
    rows = (
        ExpertDecision.objects.filter(
            told(),
            decided_at__gte=begins_at,
            item__prediction__happened_at__gte=begins_at,
            item__state=State.DECIDED,
            round=F("item__rounds"),
            agrees__isnull=False,
        )
        .annotate(place=Floor(F("item__prediction__confidence") * Tally.BINS))
        .values_list(
            "item__prediction__model", "item__prediction__version", "item__why", "item__sampling_ratio", "place"
        )
        .annotate(compared=Count("pk"), agreed=Count("pk", filter=Q(agrees=True)))
        .order_by()
    )
    found: dict[_Key, dict[Why, list[Judged]]] = defaultdict(lambda: defaultdict(list))
    for model, version, why, ratio, place, compared, agreed in rows:
        found[model, version][Why(why)].append(Judged(ratio, min(Tally.BINS - 1, int(place)), compared, agreed))
    return found


def _from_confidence(trained: ModelVersion | None, cells: Counter[int]) -> float | None:
    metrics = (trained.card_document or {}).get("metrics", ()) if trained is not None else ()
    accuracy = next((item["value"] for item in metrics if item["name"] == "accuracy"), None)
    reference = queries.reference_in(trained) if trained is not None and accuracy is not None else None
    if reference is None or accuracy is None or "confidence" not in reference.samples:
        return None
    return from_confidence(cells, training=_cells_of(reference), training_accuracy=accuracy)


def _cells_of(reference: Reference) -> Cells:
    """How many photographs of training fell into each twentieth of confidence."""
    sketch = reference.samples["confidence"]
    below = [0.0, *sketch.ranks([(place + 1) / Tally.BINS for place in range(Tally.BINS)])]
    return {
        place: round((below[place + 1] - below[place]) * sketch.count)
        for place in range(Tally.BINS)
        if below[place + 1] > below[place]
    }
