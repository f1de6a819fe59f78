"""What adds to distributions, folds them, compares them, and alerts.

event ─▶ Pending (ingest's own transaction) ─▶ hour and day sketches (beat) ─▶ findings and alerts (beat)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction

from console.audit.services import record
from console.drift import queries
from console.drift.measures import measure
from console.drift.models import Against, Distribution, Finding, Outcome, Pending, Span
from console.drift.statistics import Comparison, compare_choices, compare_numbers, false_discovery
from console.predictions.services import NewPrediction
from model_store.reference import Reference, Sketch

SKETCH_K: Final = 1024  # ranks are off by 0.27 % at most, 24 kB once full
WINDOW: Final = timedelta(days=7)
HOURS_KEPT: Final = timedelta(days=8)
DAYS_KEPT: Final = timedelta(days=400)
SAMPLES_MIN: Final = 200  # in the window; below, nothing is said
REFERENCE_MIN: Final = 30
LEVEL: Final = 0.05  # rate of false discoveries among the measures of one comparison
EFFECT_MIN: Final = 0.1  # distance between distributions, or between shares, that is worth a person's time
_FOLDED_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Compared:
    """One measure, compared."""

    measure: str
    outcome: Outcome
    found: Comparison
    q: float


def add(made: Sequence[NewPrediction]) -> None:
    """Take the measurements of fresh predictions, inside the caller's transaction. One statement."""
    batches: dict[tuple[str, datetime], tuple[dict[str, list[float]], dict[str, Counter[str]]]] = {}
    for row in made:
        hour = row.happened_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        samples, counts = batches.setdefault((row.version, hour), (defaultdict(list), defaultdict(Counter)))
        measured = measure(row)
        for name, value in measured.samples.items():
            samples[name].append(value)
        for name, choice in measured.choices.items():
            counts[name][choice] += 1
    Pending.objects.bulk_create(
        Pending(version=version, hour=hour, document={"samples": samples, "counts": counts})
        for (version, hour), (samples, counts) in batches.items()
    )


def fold() -> int:
    """Fold what waits into the sketches, some at a time, each exactly once. Returns how many batches."""
    folded = 0
    while some := _fold_some():
        folded += some
    return folded


@transaction.atomic
def _fold_some() -> int:
    unlocked = Pending.objects.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
    rows = list(unlocked.order_by("pk")[:_FOLDED_AT_ONCE])
    if not rows:
        return 0
    fresh: dict[tuple[str, Span, datetime], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        hour = row.hour.astimezone(UTC)
        fresh[row.version, Span.HOUR, hour].append(row.document)
        fresh[row.version, Span.DAY, hour.replace(hour=0)].append(row.document)
    for (version, span, begins_at), documents in sorted(fresh.items()):
        empty = Reference({}, {}).render()
        place = {"version": version, "span": span, "begins_at": begins_at}
        Distribution.objects.bulk_create([Distribution(**place, text=empty)], ignore_conflicts=True)
        kept = Distribution.objects.select_for_update().get(**place)
        kept.text = kept.reference().merged(_as_reference(documents)).render()
        kept.save(update_fields=["text"])
    Pending.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def tidy(*, at: datetime) -> int:
    """Drop hours and days that no report looks at any more. Returns how many."""
    gone = 0
    for span, kept in ((Span.HOUR, HOURS_KEPT), (Span.DAY, DAYS_KEPT)):
        gone += Distribution.objects.filter(span=span, begins_at__lt=at - kept).delete()[0]
    return gone


def compare(reference: Reference, window: Reference) -> list[Compared]:
    """Every measure that both know, with the correction for how many there are."""
    found: list[tuple[str, Comparison]] = []
    for name in sorted(reference.samples.keys() & window.samples.keys()):
        found.append((name, compare_numbers(reference.samples[name], window.samples[name])))
    for name in sorted(reference.counts.keys() & window.counts.keys()):
        if any(reference.counts[name].values()) and any(window.counts[name].values()):
            found.append((name, compare_choices(reference.counts[name], window.counts[name])))
    enough = [name for name, each in found if each.n_window >= SAMPLES_MIN and each.n_reference >= REFERENCE_MIN]
    corrected = dict(zip(enough, false_discovery([each.p for name, each in found if name in enough]), strict=True))
    return [Compared(name, _outcome(each, corrected.get(name)), each, corrected.get(name, 1.0)) for name, each in found]


def watch(*, at: datetime) -> int:
    """Compare every version that answered within the last days; open and close alerts. Returns how many are open."""
    for version in queries.versions_since(at - WINDOW):
        now = queries.window(version, ends_at=at, length=WINDOW)
        before = {
            Against.REFERENCE: queries.reference_of(version),
            Against.PREVIOUS: queries.window(version, ends_at=at - WINDOW, length=WINDOW),
        }
        for against, reference in before.items():
            if reference is not None:
                _note(version, against, compare(reference, now), at)
    Finding.objects.filter(looked_at__lt=at).delete()  # of versions that answer no more
    return Finding.objects.filter(outcome=Outcome.DRIFT).count()


@transaction.atomic
def _note(version: str, against: Against, compared: Iterable[Compared], at: datetime) -> None:
    known = {each.measure: each for each in Finding.objects.filter(version=version, against=against)}
    for each in compared:
        old = known.get(each.measure)
        was, alerts = old is not None and old.outcome == Outcome.DRIFT, each.outcome == Outcome.DRIFT
        since = (old.since if old is not None and was else at) if alerts else None
        Finding.objects.update_or_create(
            version=version,
            against=against,
            measure=each.measure,
            defaults={**_columns(each), "since": since, "looked_at": at},
        )
        if was != alerts:
            record(
                actor=None,
                action="drift.alert_opened" if alerts else "drift.alert_closed",
                subject_type="model_version",
                subject_id=version,
                details={
                    "against": str(against),
                    "measure": each.measure,
                    "effect": each.found.effect,
                    "q": each.q,
                    "n": each.found.n_window,
                },
            )


def _columns(each: Compared) -> dict[str, Any]:
    found = each.found
    return {
        "outcome": each.outcome,
        "test": found.test,
        "statistic": found.statistic,
        "effect": found.effect,
        "psi": found.psi,
        "p": found.p,
        "q": each.q,
        "n_reference": found.n_reference,
        "n_window": found.n_window,
        "error": found.error,
    }


def _outcome(found: Comparison, q: float | None) -> Outcome:
    if q is None:
        return Outcome.TOO_FEW
    return Outcome.DRIFT if q <= LEVEL and found.effect >= EFFECT_MIN else Outcome.NONE


def _as_reference(documents: Iterable[Mapping[str, Any]]) -> Reference:
    samples: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for document in documents:
        for name, values in document["samples"].items():
            samples[name].extend(values)
        for name, table in document["counts"].items():
            counts[name].update(table)
    return Reference({name: Sketch(values, k=SKETCH_K) for name, values in samples.items()}, counts)
