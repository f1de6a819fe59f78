"""An Event of the wire becomes a typed event, or a sentence why it is none.

Its answer has been given and acknowledged: whatever can be recorded is. Only an event that
no gateway of ours can have written is refused; a value that the database could not hold is
cut or bounded instead.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from console.predictions.detail import Candidate, Group, Neighbour, OodScore, Shadow, View
from console.predictions.models import TEXT_MAX, FeedbackKind, Verdict
from model_store.reference import EMBEDDING
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import prediction_pb2
from protos.amulet.v1 import vocabulary_pb2 as words

NAME_MAX: Final = 64
COMMENT_MAX: Final = 2000
VIEWS_MAX: Final = 8
NEAREST_MAX: Final = 10
CALLS_MAX: Final = 1_000_000
_LARGEST: Final = 1.7e308
_TRACED: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf]")
_FIRST_SECOND: Final = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_LAST_SECOND: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
_PROJECTION: Final = struct.Struct(f"<{len(EMBEDDING)}e")
_QUALITY: Final = tuple(field.name for field in prediction_pb2.Quality.DESCRIPTOR.fields)
_VERDICT: Final = {verdict.value: verdict for verdict in Verdict}
_SIDE: Final = {number: name.removeprefix("SIDE_").lower() for name, number in words.Side.items()}
_REASON: Final = {number: name.removeprefix("REASON_").lower() for name, number in words.Reason.items()}


class Unfit(ValueError):
    """No gateway of ours can have written this event; one sentence."""


@dataclass(frozen=True, slots=True)
class SealedView:
    """What one view brings along for the vault."""

    part: int
    photo: pb.SealedPhoto | None
    heat_map: bytes  # as `heat_map_object` writes it; empty: there is none


@dataclass(frozen=True, slots=True)
class PredictionEvent:
    event_id: UUID
    happened_at: datetime
    gateway_id: str
    prediction_id: UUID
    request_id: str
    client_id: str
    model: str
    version: str
    verdict: Verdict
    reasons: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    ood_scores: tuple[OodScore, ...]
    views: tuple[View, ...]
    sealed: tuple[SealedView, ...]
    pseudonym: str
    consent_reference: str  # empty unless the caller wished the photographs kept
    wants_review: bool
    sampling_ratio: float
    total_ms: float
    inference_ms: float
    shadows: tuple[Shadow, ...]
    policy_digest: str
    idempotency_key_digest: str
    prediction_set: tuple[str, ...]
    version_named: bool  # no weight chose it
    group: Group | None  # what the answer stood on, above the classes
    nearest: tuple[Neighbour, ...]  # nearest first
    traceparent: str  # W3C Trace Context of its call; empty: not traced

    @property
    def top(self) -> Candidate:
        return self.candidates[0] if self.candidates else Candidate("", 0.0)


@dataclass(frozen=True, slots=True)
class FeedbackEvent:
    event_id: UUID
    happened_at: datetime
    gateway_id: str
    feedback_id: UUID
    prediction_id: UUID
    client_id: str
    kind: FeedbackKind
    true_class: str
    comment: str
    traceparent: str  # as of a prediction


@dataclass(frozen=True, slots=True)
class FailureEvent:
    """Calls that a version did not answer, counted by the gateway over some seconds."""

    event_id: UUID
    happened_at: datetime
    gateway_id: str
    model: str
    version: str
    reason: str
    calls: int


@dataclass(frozen=True, slots=True)
class ShadowEvent:
    """What a shadow said of a prediction whose event had been written by then."""

    event_id: UUID
    happened_at: datetime
    gateway_id: str
    prediction_id: UUID
    answer: Shadow


def read_event(event: pb.Event) -> PredictionEvent | FeedbackEvent | FailureEvent | ShadowEvent:
    """Raises Unfit."""
    event_id = _uuid(event.event_id, "event_id")
    seconds = event.happened_at.seconds
    if not _FIRST_SECOND <= seconds < _LAST_SECOND:
        raise Unfit("happened_at is missing, or no time of this century")
    nanos = min(max(0, event.happened_at.nanos), 999_999_999)
    happened_at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanos // 1000)
    body = event.WhichOneof("body")
    if body == "prediction":
        return _prediction(event_id, happened_at, event)
    if body == "feedback":
        return _feedback(event_id, happened_at, event)
    if body == "failed":
        failed = event.failed
        if not failed.model or not failed.version or not 0 < failed.calls <= CALLS_MAX:
            raise Unfit("the failed calls name no model, no version or no number")
        return FailureEvent(
            event_id=event_id,
            happened_at=happened_at,
            gateway_id=_text(event.gateway_id, NAME_MAX),
            model=_text(failed.model, 100),
            version=_text(failed.version, 100),
            reason=_REASON.get(failed.reason, str(failed.reason)),
            calls=failed.calls,
        )
    if body == "shadow":
        return ShadowEvent(
            event_id=event_id,
            happened_at=happened_at,
            gateway_id=_text(event.gateway_id, NAME_MAX),
            prediction_id=_uuid(event.shadow.prediction_id, "prediction_id"),
            answer=_shadow(event.shadow.answer),
        )
    raise Unfit("the event has no body that this console knows")


def heat_map_object(rows: int, columns: int, values: bytes) -> bytes:
    """A heat map as the vault keeps it: rows and columns (2 bytes each, little-endian), then uint8 values."""
    return rows.to_bytes(2, "little") + columns.to_bytes(2, "little") + values


def _prediction(event_id: UUID, happened_at: datetime, event: pb.Event) -> PredictionEvent:
    made = event.prediction
    verdict = _VERDICT.get(made.verdict)
    if verdict is None:
        raise Unfit("the prediction has no verdict")
    if not made.client_id or not made.version:
        raise Unfit("the prediction names no client or no version")
    subject = made.subject
    views = made.views[:VIEWS_MAX]  # a list: what is inside is wrapped once for both passes
    return PredictionEvent(
        event_id=event_id,
        happened_at=happened_at,
        gateway_id=_text(event.gateway_id, NAME_MAX),
        prediction_id=_uuid(made.prediction_id, "prediction_id"),
        request_id=_text(made.request_id, TEXT_MAX),
        client_id=_text(made.client_id, NAME_MAX),
        model=_text(made.model, 100),
        version=_text(made.version, 100),
        verdict=verdict,
        reasons=tuple(_REASON.get(reason, str(reason)) for reason in made.reasons),
        candidates=_candidates(made.candidates),
        ood_scores=tuple(
            [
                OodScore(
                    _text(score.detector, NAME_MAX),
                    _finite(score.score),
                    _finite(score.unsure_at),
                    _finite(score.out_at),
                )
                for score in made.ood_scores
            ]
        ),
        views=tuple(map(_view, views)),
        sealed=tuple(_sealed(part, view) for part, view in enumerate(views)),
        pseudonym=_text(subject.pseudonym, TEXT_MAX),
        consent_reference=(
            _text(subject.consent_reference, TEXT_MAX) if subject.retention == prediction_pb2.RETENTION_KEEP else ""
        ),
        wants_review=made.wants_review,
        sampling_ratio=_ratio(made.review_sampling_ratio),
        total_ms=_finite(made.total_ms),
        inference_ms=_finite(made.inference_ms),
        shadows=tuple(map(_shadow, made.shadows)),
        policy_digest=made.policy_digest[:32].hex(),
        idempotency_key_digest=_text(made.idempotency_key_digest, NAME_MAX),
        prediction_set=tuple(_text(class_id, TEXT_MAX) for class_id in made.prediction_set),
        version_named=made.version_named,
        group=Group(_text(made.level, NAME_MAX), _text(made.group.class_id, TEXT_MAX), _ratio(made.group.probability))
        if made.level
        else None,
        nearest=tuple(
            Neighbour(
                _text(example.example_id, NAME_MAX),
                _text(example.class_id, TEXT_MAX),
                min(1.0, max(-1.0, _finite(example.similarity_ratio))),
            )
            for example in made.nearest_examples[:NEAREST_MAX]
        ),
        traceparent=_traceparent(event),
    )


def _feedback(event_id: UUID, happened_at: datetime, event: pb.Event) -> FeedbackEvent:
    given = event.feedback
    try:
        kind = FeedbackKind(given.kind)
    except ValueError:
        raise Unfit("the feedback has no kind") from None
    return FeedbackEvent(
        event_id=event_id,
        happened_at=happened_at,
        gateway_id=_text(event.gateway_id, NAME_MAX),
        feedback_id=_uuid(given.feedback_id, "feedback_id"),
        prediction_id=_uuid(given.prediction_id, "prediction_id"),
        client_id=_text(given.client_id, NAME_MAX),
        kind=kind,
        true_class=_text(given.true_class_id, TEXT_MAX),
        comment=given.comment.replace("\0", "\ufffd")[:COMMENT_MAX],
        traceparent=_traceparent(event),
    )


def _traceparent(event: pb.Event) -> str:
    """Of a call that is traced; empty for anything else, which holds up no event."""
    text = event.traceparent
    return text if text and _TRACED.fullmatch(text) else ""


def _view(view: pb.ViewRecord) -> View:
    quality = view.quality
    return View(
        side=_SIDE.get(view.side, "unspecified"),
        width_px=view.width_px,
        height_px=view.height_px,
        weight_ratio=_ratio(view.weight_ratio),
        input_hash=view.input_hash[:32].hex(),
        quality={name: _finite(getattr(quality, name)) for name in _QUALITY},
        kept="not_asked",
        projection=_projection(view.embedding_projection),
    )


def _projection(content: bytes) -> tuple[float, ...]:
    """Numbers of float16, little-endian; none where they are not as many as drift is measured on, or no numbers."""
    if len(content) != _PROJECTION.size:
        return ()
    values = _PROJECTION.unpack(content)
    return tuple(round(value, 3) for value in values) if all(map(math.isfinite, values)) else ()


def _sealed(part: int, view: pb.ViewRecord) -> SealedView:
    heat_map, rows, columns = view.heat_map, view.heat_map_rows, view.heat_map_columns
    fits = bool(heat_map) and 0 < rows < 1 << 16 and 0 < columns < 1 << 16 and rows * columns == len(heat_map)
    return SealedView(
        part=part,
        photo=view.photo if view.HasField("photo") else None,
        heat_map=heat_map_object(rows, columns, heat_map) if fits else b"",
    )


def _shadow(shadow: pb.ShadowAnswer) -> Shadow:
    candidates = _candidates(shadow.candidates[:1])
    top = candidates[0] if candidates else Candidate("", 0.0)
    return Shadow(
        version=_text(shadow.version, 100),
        verdict=shadow.verdict,
        top_class=top.class_id,
        confidence=top.probability,
        inference_ms=_finite(shadow.inference_ms),
    )


def _candidates(candidates: Iterable[prediction_pb2.Candidate]) -> tuple[Candidate, ...]:
    return tuple([Candidate(_text(item.class_id, TEXT_MAX), _ratio(item.probability)) for item in candidates])


def _uuid(text: str, field: str) -> UUID:
    try:
        value = UUID(text)
    except ValueError:
        value = None
    if value is None or str(value) != text:
        raise Unfit(f"{field} is no UUID")
    return value


def _text(text: str, length_max: int) -> str:
    """What can be stored and shown: PostgreSQL has no NUL, a list no place for a novel."""
    if len(text) > length_max:
        text = text[:length_max]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _finite(value: float) -> float:
    """JSON has no infinity, and a score beyond all bounds is as far out as one can write."""
    if math.isfinite(value):
        return value
    return 0.0 if math.isnan(value) else math.copysign(_LARGEST, value)


def _ratio(value: float) -> float:
    return value if 0.0 <= value <= 1.0 else float(value > 1.0)  # a NaN is 0
