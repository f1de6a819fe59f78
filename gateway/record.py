"""What the journal keeps of a prediction or of a feedback: the event that the console applies once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.answer import Conclusion, Heat, best_group, candidates_of, ood_scores_of, quality_of
from gateway.ask import Ask
from gateway.identity import uuid7
from gateway.routing.shadow import ShadowAnswer
from gateway.sealing import Sealed
from gateway.serving.torchserve import Neighbour
from gateway.snapshot import Client, Snapshot
from protos.amulet.events.v1 import events_pb2
from protos.amulet.v1 import prediction_pb2 as pb

NEAREST_RECORDED: Final = 3  # reference examples, asked for or not: an expert sees what the model was reminded of


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What surrounds a prediction."""

    prediction_id: str
    gateway_id: str
    client: Client
    snapshot: Snapshot
    version_drawn: bool  # by the weights
    total_s: float  # until the event was made
    inference_s: float
    wants_review: bool
    traceparent: str  # of the call, where it is traced; else empty


def prediction_event(
    ask: Ask,
    conclusion: Conclusion,
    around: Circumstances,
    *,
    heats: Sequence[Heat],
    photos: Sequence[Sealed | None],
    nearest: Sequence[Neighbour],
    projections: Sequence[Sequence[float]],
    replay: events_pb2.Replay | None = None,
) -> bytes:
    """One Event, serialised.

    heats: those of the best class alone, at most one per view.  photos: sealed, one per view
    (None where there was no room) where they may be kept, else empty.  nearest: references, nearest
    first.  projections: of each view's embedding, which drift is measured on.  replay: of a call under a
    key.  Nothing of a photograph but its heat map, its projection, its sealed self, its measurements and
    its keyed hash is in the event.
    """
    version = conclusion.version
    made = events_pb2.PredictionMade(
        prediction_id=around.prediction_id,
        request_id=ask.request_id,
        client_id=around.client.client_id,
        model=version.model,
        version=version.version,
        verdict=conclusion.verdict,
        reasons=[remark.reason for remark in conclusion.remarks],
        candidates=candidates_of(version.classes, conclusion.probabilities, len(version.classes), None),
        ood_scores=ood_scores_of(version, conclusion.scores),
        views=[
            _view_record(conclusion, index, heats, photos[index] if photos else None, projections[index])
            for index in range(len(conclusion.views))
        ],
        wants_review=around.wants_review,
        review_sampling_ratio=around.snapshot.review_sampling_ratio,
        total_ms=around.total_s * 1000,
        inference_ms=around.inference_s * 1000,
        policy_digest=around.snapshot.digest,
        idempotency_key_digest=hashlib.sha256(ask.idempotency_key.encode()).hexdigest() if ask.idempotency_key else "",
        prediction_set=[version.classes[index].class_id for index in conclusion.set_indices],
        version_named=not around.version_drawn,
        level="" if conclusion.level is None else conclusion.level.rule.id,
        group=best_group(conclusion),
        nearest_examples=[
            pb.Example(
                example_id=neighbour.example_id,
                class_id=version.classes[neighbour.class_index].class_id,
                similarity_ratio=neighbour.cosine,
                side=neighbour.side,
            )
            for neighbour in nearest
        ],
    )
    subject = ask.subject
    if subject.pseudonym or subject.consent_reference or subject.retention:
        made.subject.CopyFrom(
            events_pb2.Subject(
                pseudonym=subject.pseudonym, consent_reference=subject.consent_reference, retention=subject.retention
            )
        )
    event = events_pb2.Event(
        event_id=uuid7(),
        gateway_id=around.gateway_id,
        prediction=made,
        replay=replay,
        traceparent=around.traceparent,
    )
    event.happened_at.GetCurrentTime()
    return event.SerializeToString()


def replay_of(response: pb.PredictResponse, place: bytes, request_digest: bytes) -> events_pb2.Replay:
    """What the journal keeps for a second call."""
    answer = lasting(response.SerializeToString())
    return events_pb2.Replay(place=place, request_digest=request_digest, answer=answer)


def lasting(answer: bytes) -> bytes:
    """What may be kept of a PredictResponse, serialised: everything but what shows the photograph itself."""
    kept = pb.PredictResponse.FromString(answer)
    for heat_map in kept.heat_maps:
        heat_map.ClearField("overlay_png")
    return kept.SerializeToString()


def shadow_event(answer: ShadowAnswer, *, prediction_id: str, gateway_id: str) -> bytes:
    """One Event, serialised: what a shadow said of the photographs of a prediction."""
    event = events_pb2.Event(
        event_id=uuid7(),
        gateway_id=gateway_id,
        shadow=events_pb2.ShadowFollowed(prediction_id=prediction_id, answer=_shadow_record(answer)),
    )
    event.happened_at.GetCurrentTime()
    return event.SerializeToString()


def feedback_event(
    request: pb.SubmitFeedbackRequest,
    *,
    feedback_id: str,
    client: Client,
    gateway_id: str,
    traceparent: str = "",
    replay: events_pb2.Replay | None = None,
) -> bytes:
    """One Event, serialised. traceparent: of the call, where it is traced. replay: of a call under a key."""
    event = events_pb2.Event(
        event_id=uuid7(),
        gateway_id=gateway_id,
        traceparent=traceparent,
        feedback=events_pb2.FeedbackGiven(
            feedback_id=feedback_id,
            prediction_id=request.prediction_id,
            client_id=client.client_id,
            true_class_id=request.true_class_id,
            kind=request.kind,
            comment=request.comment,
        ),
        replay=replay,
    )
    event.happened_at.GetCurrentTime()
    return event.SerializeToString()


def _view_record(
    conclusion: Conclusion, index: int, heats: Sequence[Heat], photo: Sealed | None, projection: Sequence[float]
) -> events_pb2.ViewRecord:
    view = conclusion.views[index]
    record = events_pb2.ViewRecord(
        input_hash=view.photo.input_hash,
        side=view.side,
        width_px=view.photo.source_px[0],
        height_px=view.photo.source_px[1],
        quality=quality_of(view.photo.quality),
        weight_ratio=view.share_ratio,
        embedding_projection=np.asarray(projection, dtype="<f2").tobytes(),
    )
    for heat in heats:
        if heat.view == index:
            record.heat_map_rows, record.heat_map_columns = heat.grid.shape
            record.heat_map = _compact(heat.grid)
    if photo is not None:
        record.photo.ephemeral_public_key = photo.ephemeral_public_key
        record.photo.nonce = photo.nonce
        record.photo.ciphertext = photo.ciphertext
    return record


_LEVELS: Final = 255


def _compact(grid: NDArray[np.float32]) -> bytes:
    """uint8 [rows, columns], scaled to its own maximum."""
    peak = float(grid.max(initial=0.0))
    scaled = grid / peak * _LEVELS if peak > 0 else np.zeros_like(grid)
    return scaled.clip(0, _LEVELS).round().astype(np.uint8).tobytes()


def _shadow_record(shadow: ShadowAnswer) -> events_pb2.ShadowAnswer:
    conclusion = shadow.conclusion
    version = conclusion.version
    return events_pb2.ShadowAnswer(
        version=version.version,
        verdict=conclusion.verdict,
        candidates=candidates_of(version.classes, conclusion.probabilities, len(version.classes), None),
        ood_scores=ood_scores_of(conclusion.version, conclusion.scores),
        inference_ms=shadow.inference_s * 1000,
    )
