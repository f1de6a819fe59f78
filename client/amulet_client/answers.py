"""Requests and answers as frozen values; protobuf stops here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words


@dataclass(frozen=True, slots=True)
class View:
    """One photograph of the object: JPEG, PNG or WebP, and which face it shows."""

    photo: bytes
    side: str = ""  # "front", "back", "edge", "detail"; empty: not said

    @staticmethod
    def of(source: View | bytes | Path | str) -> View:
        """A view from itself, from encoded bytes or from a file. Raises OSError for an unreadable file."""
        if isinstance(source, View):
            return source
        return View(source if isinstance(source, bytes) else Path(source).read_bytes())


@dataclass(frozen=True, slots=True)
class Candidate:
    class_id: str
    display_name: str  # in the caller's language
    probability: float  # calibrated, 0 to 1


@dataclass(frozen=True, slots=True)
class Finding:
    """Why the answer is not a plain yes, and what would help."""

    reason: str  # as "REASON_BLURRED"
    message: str
    advice: str
    view: int  # -1: all


@dataclass(frozen=True, slots=True)
class OodScore:
    detector: str
    score: float  # higher is further out
    unsure_at: float
    out_at: float


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Where the photograph speaks for a class; only relations within one map mean anything."""

    view: int
    class_id: str
    rows: int
    columns: int
    values: tuple[float, ...]  # row by row, at least 0
    overlay_png: bytes


@dataclass(frozen=True, slots=True)
class Prediction:
    prediction_id: str
    request_id: str
    model: str
    version: str
    verdict: str  # "IN_DOMAIN", "UNSURE" or "OUT_OF_DISTRIBUTION"
    reasons: tuple[Finding, ...]
    candidates: tuple[Candidate, ...]  # best first
    prediction_set: tuple[str, ...]
    set_coverage: float
    ood_scores: tuple[OodScore, ...]
    heat_maps: tuple[HeatMap, ...]
    disclaimer: str  # to be shown wherever a person sees the answer
    will_be_reviewed: bool
    answered_at: datetime
    total_ms: float
    replayed: bool
    audit_checkpoint: str

    @staticmethod
    def of(response: pb.PredictResponse) -> Prediction:
        return Prediction(
            prediction_id=response.prediction_id,
            request_id=response.request_id,
            model=response.model,
            version=response.version,
            verdict=words.Verdict.Name(response.verdict).removeprefix("VERDICT_"),
            reasons=tuple(
                Finding(words.Reason.Name(each.reason), each.message, each.advice, each.view)
                for each in response.reasons
            ),
            candidates=tuple(
                Candidate(each.class_id, each.display_name, each.probability) for each in response.candidates
            ),
            prediction_set=tuple(response.prediction_set.class_ids),
            set_coverage=response.prediction_set.coverage,
            ood_scores=tuple(
                OodScore(each.detector, each.score, each.unsure_at, each.out_at) for each in response.ood_scores
            ),
            heat_maps=tuple(
                HeatMap(each.view, each.class_id, each.rows, each.columns, tuple(each.values), each.overlay_png)
                for each in response.heat_maps
            ),
            disclaimer=response.disclaimer,
            will_be_reviewed=response.will_be_reviewed,
            answered_at=response.answered_at.ToDatetime(tzinfo=UTC),
            total_ms=response.timings.total.ToTimedelta().total_seconds() * 1000.0,
            replayed=response.replayed,
            audit_checkpoint=response.audit_checkpoint,
        )


@dataclass(frozen=True, slots=True)
class ServedVersion:
    version: str
    alias: str
    weight_ratio: float
    shadow: bool
    ready: bool


@dataclass(frozen=True, slots=True)
class ServedModel:
    name: str
    version: str  # the one that most of the traffic gets
    ready: bool
    versions: tuple[ServedVersion, ...]

    @staticmethod
    def of(model: pb.Model) -> ServedModel:
        return ServedModel(
            name=model.name,
            version=model.version,
            ready=model.ready,
            versions=tuple(
                ServedVersion(each.version, each.alias, each.weight_ratio, each.shadow, each.ready)
                for each in model.versions
            ),
        )


def request_of(
    views: Sequence[View | bytes | Path | str],
    *,
    model: str = "",
    version: str = "",
    top_k: int = 0,
    explain: bool = False,
    overlay: bool = False,
    explain_class: str = "",
    idempotency_key: str = "",
    request_id: str = "",
    subject: str = "",
    consent: str = "",
    keep: bool = False,
) -> pb.PredictRequest:
    """A request of the contract. Raises ValueError for an unknown side or a consent without a subject."""
    if (consent or keep) and not subject:
        raise ValueError("a consent or a wish to keep the photograph needs the subject whose it is")
    request = pb.PredictRequest(
        request_id=request_id,
        views=[pb.View(photo=view.photo, side=_side(view.side)) for view in map(View.of, views)],
        model=model,
        version=version,
        top_k=top_k,
        idempotency_key=idempotency_key,
    )
    if explain or overlay:
        request.explain.method = pb.Explain.METHOD_GRAD_CAM
        request.explain.class_id = explain_class
        request.explain.overlay = overlay
    if subject:
        request.subject.pseudonym = subject
        request.subject.consent_reference = consent
        request.subject.retention = pb.RETENTION_KEEP if keep else pb.RETENTION_NONE
    return request


def _side(name: str) -> words.Side.ValueType:
    if not name:
        return words.SIDE_UNSPECIFIED
    try:
        return words.Side.Value(f"SIDE_{name.upper()}")
    except ValueError:
        known = ", ".join(each.removeprefix("SIDE_").lower() for each in words.Side.keys()[1:])
        raise ValueError(f"{name} is not a side: {known}") from None
