"""An event's life: from a gateway's batch to record, audit entry and review, exactly once.

A batch is one transaction. An event that was applied before is left out, by its id, which
is written in the same transaction as its effects: a batch that comes twice, by whichever
shipper, at whichever moment one of them died, counts once. If the database refuses a batch,
its events are applied one by one, so that one bad event holds up nobody and is named.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import DataError, IntegrityError, OperationalError, transaction
from django.utils.timezone import now

from console.audit import services as audit
from console.drift import services as drift
from console.ingest.models import AppliedEvent
from console.ingest.reading import FailureEvent, FeedbackEvent, PredictionEvent, ShadowEvent, Unfit, read_event
from console.ingest.retention import Outcome, Prepared, Retained, brings_photographs, prepare, retain
from console.ingest.tracing import Traced, tell, trace_id_of
from console.predictions import queries as known_predictions
from console.predictions import services as predictions
from console.predictions.detail import Detail
from console.predictions.models import Feedback, Prediction
from console.predictions.services import NewPrediction
from console.predictions.tallies import Tallied, tally
from console.review import services as review
from console.review.models import Why
from console.rollout.observations import Answer, Failed, Given, observe, observe_late
from console.rows import insert_unless_there
from console.vault import queries as vault
from console.vault import services as vault_services
from protos.amulet.events.v1 import events_pb2 as pb

_log = logging.getLogger(__name__)
ACTOR: Final = "gateway"
_TRIES: Final = 3
_Event = PredictionEvent | FeedbackEvent | FailureEvent | ShadowEvent
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch: every event is counted once."""

    applied: int
    known_before: int
    rejected: tuple[tuple[str, str], ...]  # event id as sent, and why


def apply_batch(batch: Sequence[pb.Event]) -> Receipt:
    """Apply what is new in a batch. When it returns, every event is in the database or named with why not.

    Raises OperationalError or OSError when the database or the object store is away, KeyAwaited while a master key of
    the vault is: nothing was applied then, and the whole batch may come again.
    """
    rejected: list[tuple[str, str]] = []
    events: dict[UUID, _Event] = {}
    for message in batch:
        try:
            event = read_event(message)
        except Unfit as error:
            rejected.append((message.event_id, str(error)))
        else:
            events.setdefault(event.event_id, event)
    readable = len(batch) - len(rejected)
    tried: list[UUID] = []
    try:
        prepared = prepare(_new_with_photographs(events.values()), at=now(), tried=tried)
        try:
            applied = _patiently(partial(_apply, list(events.values()), prepared))
        except (IntegrityError, DataError):
            applied = 0
            for event in events.values():
                try:
                    applied += _patiently(partial(_apply, [event], prepared))
                except (IntegrityError, DataError) as error:
                    _log.warning("an event is refused by the database", extra={"event_id": str(event.event_id)})
                    rejected.append((str(event.event_id), _why_refused(event, error)))
    finally:
        if tried:
            vault_services.drop_written(tried)
    refused_by_database = len(rejected) - (len(batch) - readable)
    return Receipt(applied, readable - applied - refused_by_database, tuple(rejected))


@transaction.atomic
def _apply(events: Sequence[_Event], prepared: Mapping[UUID, Prepared]) -> int:
    """Apply events that are not applied yet, all or none. Returns how many were new."""
    at, began_ns, began_s = now(), time.time_ns(), time.monotonic()
    new = _claim(events, at)
    if not new:
        return 0
    made = [event for event in new if isinstance(event, PredictionEvent)]
    given = [event for event in new if isinstance(event, FeedbackEvent)]
    retained = retain(made, at=at, prepared=prepared)
    forgotten = {prediction_id for prediction_id, kept in retained.items() if kept.forgotten}
    predictions.forget_feedback(forgotten)
    erased = vault.erased_among(
        {event.prediction_id for event in new if isinstance(event, FeedbackEvent | ShadowEvent)}
    )
    given = [event for event in given if event.prediction_id not in erased]
    rows = [_prediction_row(event, retained[event.prediction_id]) for event in made]
    predictions.add_predictions(rows)
    drift.add(rows)
    predictions.add_feedback([_feedback_row(event) for event in given])
    audit.append([_audit_entry(event, retained, erased) for event in new], actor=ACTOR, at=at)
    tally(
        Tallied(event.happened_at, event.model, event.version, event.verdict, event.top.probability) for event in made
    )
    observe(
        [_given(event) for event in made if not event.version_named],
        [
            Failed(event.happened_at, event.model, event.version, event.reason, event.calls)
            for event in new
            if isinstance(event, FailureEvent)
        ],
    )
    _join_shadows([event for event in new if isinstance(event, ShadowEvent) and event.prediction_id not in erased])
    # From here on under the audit head's lock: of a prediction and its feedback that arrive at
    # the same time in two batches, the later one sees the other.
    _queue(made, retained)
    _flag(given)
    of_calls: list[PredictionEvent | FeedbackEvent] = [
        *(event for event in made if not retained[event.prediction_id].forgotten),
        *given,
    ]
    traced = [Traced(event.traceparent, event.event_id, event.prediction_id) for event in of_calls if event.traceparent]
    if traced:
        transaction.on_commit(partial(tell, traced, from_ns=began_ns, from_s=began_s))
    return len(new)


def _new_with_photographs(events: Collection[_Event]) -> list[PredictionEvent]:
    """Those whose photographs are to be written: of a batch that comes again, not what was applied before."""
    bringing = [event for event in events if isinstance(event, PredictionEvent) and brings_photographs(event)]
    if not bringing:
        return []
    ids = [event.event_id for event in bringing]
    known = set(AppliedEvent.objects.filter(event_id__in=ids).values_list("event_id", flat=True))
    return [event for event in bringing if event.event_id not in known]


def _claim(events: Sequence[_Event], at: datetime) -> list[_Event]:
    """Write the ids of those that were never applied, and return these. Waits for a batch that is claiming the same."""
    by_id = {event.event_id: event for event in events}
    claimed = insert_unless_there(
        AppliedEvent,
        ("event_id", "applied_at"),
        # In one order everywhere, so that two batches never wait for each other in a circle.
        [(event_id, at) for event_id in sorted(by_id, key=attrgetter("int"))],
        otherwise="ON CONFLICT DO NOTHING RETURNING event_id",
    )
    new = {value if isinstance(value, UUID) else UUID(value) for (value,) in claimed}
    return [event for event in events if event.event_id in new]


def _prediction_row(event: PredictionEvent, retained: Retained) -> NewPrediction:
    views = tuple(replace(view, kept=outcome) for view, outcome in zip(event.views, retained.outcomes, strict=True))
    detail = Detail(
        candidates=event.candidates,
        ood_scores=event.ood_scores,
        views=views,
        reasons=event.reasons,
        prediction_set=event.prediction_set,
        shadows=event.shadows,
        total_ms=event.total_ms,
        inference_ms=event.inference_ms,
        policy_digest=event.policy_digest,
        idempotency_key_digest=event.idempotency_key_digest,
        group=event.group,
        nearest=event.nearest,
        # As the caller's own id: whoever asked to be forgotten is not found again in another's traces.
        trace_id="" if retained.forgotten else trace_id_of(event.traceparent),
    )
    return NewPrediction(
        prediction_id=event.prediction_id,
        happened_at=event.happened_at,
        client_id=event.client_id,
        model=event.model,
        version=event.version,
        verdict=event.verdict,
        top_class=event.top.class_id,
        confidence=event.top.probability,
        subject_id=retained.subject.pk if retained.subject else None,
        input_hash=bytes.fromhex(event.views[0].input_hash) if event.views else b"",
        request_id="" if retained.forgotten else event.request_id,
        gateway_id=event.gateway_id,
        detail=detail,
        version_named=event.version_named,
    )


def _join_shadows(late: Sequence[ShadowEvent]) -> None:
    """Put answers of shadows that came late beside production's. A gateway writes them after it, so it is here;
    what was erased meanwhile is left alone."""
    if not late:
        return
    rows = {row.pk: row for row in Prediction.objects.filter(pk__in={event.prediction_id for event in late})}
    given = []
    for event in late:
        row = rows.get(event.prediction_id)
        if row is None:
            continue
        detail = row.detail()
        row.detail_document = replace(detail, shadows=(*detail.shadows, event.answer)).render()
        if row.version_named:  # nor was it counted as unanswered
            continue
        answer = Answer(row.verdict, row.top_class, row.confidence, detail.inference_ms)
        given.append(Given(row.happened_at, row.model, row.version, answer, (event.answer,)))
    Prediction.objects.bulk_update(rows.values(), ["detail_document"], batch_size=100)
    observe_late(given)


def _given(event: PredictionEvent) -> Given:
    return Given(
        happened_at=event.happened_at,
        model=event.model,
        version=event.version,
        answer=Answer(event.verdict, event.top.class_id, event.top.probability, event.inference_ms),
        shadows=event.shadows,
    )


def _feedback_row(event: FeedbackEvent) -> Feedback:
    return Feedback(
        feedback_id=event.feedback_id,
        prediction_id=event.prediction_id,
        happened_at=event.happened_at,
        client_id=event.client_id,
        kind=event.kind,
        true_class=event.true_class,
        comment=event.comment,
    )


def _audit_entry(event: _Event, retained: Mapping[UUID, Retained], erased: Collection[UUID]) -> audit.NewEntry:
    """What the chain commits to. Nothing personal: the subject's id is random and dies with the subject.

    erased: predictions that went with their person. That something was said of one counts, and not of which or what.
    """
    details: dict[str, Any] = {
        "event": str(event.event_id),
        "happened_at": event.happened_at.isoformat(),
        "gateway": event.gateway_id,
    }
    if isinstance(event, FailureEvent):
        details |= {"version": event.version, "reason": event.reason, "calls": event.calls}
        return audit.NewEntry("calls.failed", "model", event.model, details)
    if isinstance(event, FeedbackEvent | ShadowEvent) and event.prediction_id in erased:
        kind = "feedback.given" if isinstance(event, FeedbackEvent) else "shadow.followed"
        return audit.NewEntry(kind, "prediction", "", details)
    if isinstance(event, ShadowEvent):
        answer = event.answer
        details |= {"version": answer.version, "class": answer.top_class, "confidence": answer.confidence}
        return audit.NewEntry("shadow.followed", "prediction", str(event.prediction_id), details)
    details["client"] = event.client_id
    if isinstance(event, FeedbackEvent):
        details |= {"feedback": str(event.feedback_id), "kind": event.kind.name, "true_class": event.true_class}
        return audit.NewEntry("feedback.given", "prediction", str(event.prediction_id), details)
    kept = retained[event.prediction_id]
    details |= {
        "model": event.model,
        "version": event.version,
        "verdict": event.verdict.name,
        "class": event.top.class_id,
        "confidence": event.top.probability,
        "inputs": [view.input_hash for view in event.views],
        "policy": event.policy_digest,
        "subject": str(kept.subject.pk) if kept.subject else None,
        "photographs": [str(outcome) for outcome in kept.outcomes],
    }
    return audit.NewEntry("prediction.made", "prediction", str(event.prediction_id), details)


def _queue(made: Sequence[PredictionEvent], retained: Mapping[UUID, Retained]) -> None:
    """Put into the review queue what a person should look at."""
    contradicted = _contradicted({event.prediction_id: event.client_id for event in made})
    items = []
    for event in made:
        why = review.why_review(
            verdict=event.verdict, confidence=event.top.probability, wants_review=event.wants_review
        )
        if event.prediction_id in contradicted:
            why = Why.FLAGGED
        if why is None:
            continue
        sampled = why == Why.SAMPLED and event.sampling_ratio > 0
        items.append(
            review.new_item(
                event.prediction_id,
                why=why,
                sampling_ratio=event.sampling_ratio if sampled else 1.0,
                with_photograph=Outcome.KEPT in retained[event.prediction_id].outcomes,
            )
        )
    review.enqueue(items)


def _flag(given: Sequence[FeedbackEvent]) -> None:
    """Bring predictions that this feedback contradicts before a person; those still to come are found by `_queue`."""
    ids = {event.prediction_id for event in given if event.kind in review.CONTRADICTIONS}
    if not ids:
        return
    known = list(Prediction.objects.filter(pk__in=ids))
    contradicted = _contradicted({prediction.pk: prediction.client_id for prediction in known})
    flagged = [prediction for prediction in known if prediction.pk in contradicted]
    kept = vault.kept_of(str(prediction.pk) for prediction in flagged)
    review.flag(flagged, with_photograph={UUID(owner) for owner, what in kept.items() if what.photographs})


def _contradicted(client_of: Mapping[UUID, str]) -> set[UUID]:
    """Those predictions whose own client contradicted them; what another says of them counts for nothing."""
    return {
        prediction_id
        for prediction_id, feedback in known_predictions.feedback_on(client_of).items()
        if any(item.client_id == client_of[prediction_id] and item.kind in review.CONTRADICTIONS for item in feedback)
    }


def _patiently(work: Callable[[], _T]) -> _T:
    """Do it again where the database chose this transaction as the victim of a deadlock. Raises OperationalError."""
    for remaining in reversed(range(_TRIES)):
        try:
            return work()
        except OperationalError as error:
            code = getattr(error.__cause__, "pgcode", None)
            if code not in _TRY_AGAIN or not remaining:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


# Serialisation failure, deadlock.
_TRY_AGAIN: Final = frozenset({"40001", "40P01"})


def _why_refused(event: _Event, error: Exception) -> str:
    if isinstance(event, PredictionEvent) and Prediction.objects.filter(pk=event.prediction_id).exists():
        return "a prediction of this id was reported by another event"
    if isinstance(event, FeedbackEvent) and Feedback.objects.filter(pk=event.feedback_id).exists():
        return "a feedback of this id was reported by another event"
    return f"the database refuses it: {type(error).__name__}"
