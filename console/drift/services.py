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
from console.drift.models import EVERYBODY, Against, Distribution, Finding, Named, Outcome, Pending, Span
from console.drift.statistics import Comparison, compare_choices, compare_numbers, false_discovery
from console.predictions.services import NewPrediction
from model_store.reference import Reference, Sketch, is_confidence_in_a_class

SKETCH_K: Final = 1024  # ranks are off by 0.27 % at most, 24 kB once full
WINDOW: Final = timedelta(days=7)
HOURS_KEPT: Final = timedelta(days=8)
DAYS_KEPT: Final = timedelta(days=400)
CLIENTS_MAX: Final = 20  # of a version, the first ones that ask; the others count only among everybody
CLIENT_SKETCH_K: Final = 256  # ranks are off by 1 % at most, 6 kB once full
CLIENT_DAYS_KEPT: Final = timedelta(days=16)  # two windows and the days they begin in
CLASSES_MAX: Final = 12  # of a version's day, whose confidence is kept apart: the most frequent when it begins
CLASS_SKETCH_K: Final = 256
SAMPLES_MIN: Final = 200  # in the window; below, nothing is said
REFERENCE_MIN: Final = 30
LEVEL: Final = 0.05  # rate of false discoveries among the measures of one comparison
EFFECT_MIN: Final = 0.1  # distance between distributions, or between shares, that is worth a person's time
# Four looks. Sooner, another worker that began earlier may have written last, or an archive is away for a moment.
FORGOTTEN_AFTER: Final = timedelta(hours=1)
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
    batches: dict[tuple[Named, str, datetime], tuple[dict[str, list[float]], dict[str, Counter[str]]]] = {}
    for row in made:
        hour = row.happened_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        samples, counts = batches.setdefault(
            (Named(row.model, row.version), row.client_id, hour), (defaultdict(list), defaultdict(Counter))
        )
        measured = measure(confidence=row.confidence, verdict=row.verdict, top_class=row.top_class, detail=row.detail)
        for name, value in measured.samples.items():
            samples[name].append(value)
        for name, choice in measured.choices.items():
            counts[name][choice] += 1
    Pending.objects.bulk_create(
        Pending(**of._asdict(), client=client, hour=hour, document={"samples": samples, "counts": counts})
        for (of, client, hour), (samples, counts) in batches.items()
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
    fresh: dict[tuple[Named, str, Span, datetime], list[dict[str, Any]]] = defaultdict(list)
    tracked = _tracked(rows)
    for row in rows:
        hour = row.hour.astimezone(UTC)
        fresh[row.of, EVERYBODY, Span.HOUR, hour].append(row.document)
        fresh[row.of, EVERYBODY, Span.DAY, hour.replace(hour=0)].append(row.document)
        if row.client in tracked[row.of]:
            fresh[row.of, row.client, Span.DAY, hour.replace(hour=0)].append(row.document)
    for (of, client, span, begins_at), documents in sorted(fresh.items()):
        empty = Reference({}, {}).render()
        place = {**of._asdict(), "client": client, "span": span, "begins_at": begins_at}
        Distribution.objects.bulk_create([Distribution(**place, text=empty)], ignore_conflicts=True)
        kept = Distribution.objects.select_for_update().get(**place)
        before = kept.reference()
        by_class = client == EVERYBODY and span == Span.DAY
        added = _as_reference(documents, k=SKETCH_K if client == EVERYBODY else CLIENT_SKETCH_K, by_class=by_class)
        kept.text = before.merged(_of_few_classes(added, before)).render()
        kept.save(update_fields=["text"])
    Pending.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def _of_few_classes(added: Reference, kept: Reference) -> Reference:
    """Without confidence in classes for which there is no place: those that are kept stay, the most frequent come."""
    names = {name for name in added.samples if is_confidence_in_a_class(name)}
    here = {name for name in kept.samples if is_confidence_in_a_class(name)}
    new = sorted(names - here, key=lambda name: (-added.samples[name].count, name))
    gone = set(new[max(0, CLASSES_MAX - len(here)) :])
    return Reference({name: sketch for name, sketch in added.samples.items() if name not in gone}, added.counts)


def _tracked(rows: Iterable[Pending]) -> dict[Named, set[str]]:
    """The clients of each version whose distributions are kept: those that are, and new ones while there is room."""
    found: dict[Named, set[str]] = {}
    for row in rows:
        if row.of not in found:
            found[row.of] = queries.clients_kept(row.of)
        if row.client != EVERYBODY and len(found[row.of]) < CLIENTS_MAX:
            found[row.of].add(row.client)
    return found


def tidy(*, at: datetime) -> int:
    """Drop hours and days that no report looks at any more. Returns how many."""
    clients = Distribution.objects.exclude(client=EVERYBODY)
    gone = clients.filter(span=Span.DAY, begins_at__lt=at - CLIENT_DAYS_KEPT).delete()[0]
    for span, kept in ((Span.HOUR, HOURS_KEPT), (Span.DAY, DAYS_KEPT)):
        gone += Distribution.objects.filter(span=span, begins_at__lt=at - kept).delete()[0]
    return gone


def compare(reference: Reference, window: Reference) -> list[Compared]:
    """Every measure that both know, with the correction for how many there are."""
    return compare_all({EVERYBODY: (reference, window)})[EVERYBODY]


def compare_all(pairs: Mapping[str, tuple[Reference, Reference]]) -> dict[str, list[Compared]]:
    """For each client every measure that its reference and its window know, by client.

    The correction is for everything that is compared together: with twenty clients, a hundred measures are looked
    at, and without it five would be found by chance.
    """
    found = {client: _measures(*pair) for client, pair in pairs.items()}
    enough = {
        (client, name): each.p
        for client, measures in found.items()
        for name, each in measures
        if each.n_window >= SAMPLES_MIN and each.n_reference >= REFERENCE_MIN
    }
    corrected = dict(zip(enough, false_discovery(list(enough.values())), strict=True))
    return {
        client: [
            Compared(name, _outcome(each, corrected.get((client, name))), each, corrected.get((client, name), 1.0))
            for name, each in measures
        ]
        for client, measures in found.items()
    }


def _measures(reference: Reference, window: Reference) -> list[tuple[str, Comparison]]:
    found: list[tuple[str, Comparison]] = []
    for name in sorted(reference.samples.keys() & window.samples.keys()):
        found.append((name, compare_numbers(reference.samples[name], window.samples[name])))
    for name in sorted(reference.counts.keys() & window.counts.keys()):
        if any(reference.counts[name].values()) and any(window.counts[name].values()):
            found.append((name, compare_choices(reference.counts[name], window.counts[name])))
    return found


def watch(*, at: datetime) -> int:
    """Compare every version that answered within the last days; open and close alerts. Returns how many are open."""
    for version in queries.versions_since(at - WINDOW):
        clients = [EVERYBODY, *queries.clients_since(version, at - WINDOW)]
        now, before = (
            {client: queries.window(version, ends_at=ends_at, length=WINDOW, client=client) for client in clients}
            for ends_at in (at, at - WINDOW)
        )
        previous = {client: (before[client], now[client]) for client in clients}
        _note(version, Against.PREVIOUS, compare_all(previous), at)
        if (reference := queries.reference_of(version)) is not None:
            trained = {client: (reference, now[client]) for client in clients}
            _note(version, Against.REFERENCE, compare_all(trained), at)
    _forget_unmeasured(at)
    return Finding.objects.filter(outcome=Outcome.DRIFT).count()


@transaction.atomic
def _note(version: Named, against: Against, compared: Mapping[str, Sequence[Compared]], at: datetime) -> None:
    """Write findings down, and alerts that open or close, each once: another worker may do the same now."""
    rows = Finding.objects.filter(**version._asdict(), against=against)
    known = {(each.client, each.measure): each.pk for each in rows}
    for client, each in ((client, each) for client, measures in compared.items() for each in measures):
        key = known.get((client, each.measure))
        columns = {**_columns(each), "looked_at": at}
        if key is None:
            unsaid = {**columns, "outcome": Outcome.NONE, "since": None}
            place = {**version._asdict(), "client": client, "against": against, "measure": each.measure}
            key = Finding.objects.get_or_create(**place, defaults=unsaid)[0].pk
        row = Finding.objects.filter(pk=key)
        if each.outcome == Outcome.DRIFT:
            turned = row.exclude(outcome=Outcome.DRIFT).update(**columns, since=at)
        else:
            turned = row.filter(outcome=Outcome.DRIFT).update(**columns, since=None)
        if not turned:  # `since` stays as it is
            row.update(**columns)
            continue
        _tell_of_alert(
            opened=each.outcome == Outcome.DRIFT,
            of=Finding(**version._asdict(), client=client, against=against, measure=each.measure),
            effect=each.found.effect,
            q=each.q,
            n=each.found.n_window,
        )


@transaction.atomic
def _forget_unmeasured(at: datetime) -> None:
    """Drop what nobody asks about any more, as of versions that answer no more. An alert of it closes with it."""
    long_ago = at - FORGOTTEN_AFTER
    gone = Finding.objects.filter(looked_at__lt=long_ago)
    for each in gone.filter(outcome=Outcome.DRIFT):
        if Finding.objects.filter(pk=each.pk, outcome=Outcome.DRIFT, looked_at__lt=long_ago).delete()[0]:
            _tell_of_alert(opened=False, of=each, n=0)
    gone.delete()


def _tell_of_alert(*, opened: bool, of: Finding, **figures: float) -> None:
    record(
        actor=None,
        action="drift.alert_opened" if opened else "drift.alert_closed",
        subject_type="model_version",
        subject_id=of.version,
        details={
            "model": of.model,
            "against": str(of.against),
            "measure": of.measure,
            **({"client": of.client} if of.client else {}),
            **figures,
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


def _as_reference(documents: Iterable[Mapping[str, Any]], *, k: int, by_class: bool) -> Reference:
    samples: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for document in documents:
        for name, values in document["samples"].items():
            if by_class or not is_confidence_in_a_class(name):
                samples[name].extend(values)
        for name, table in document["counts"].items():
            counts[name].update(table)
    return Reference(
        {
            name: Sketch(values, k=CLASS_SKETCH_K if is_confidence_in_a_class(name) else k)
            for name, values in samples.items()
        },
        counts,
    )
