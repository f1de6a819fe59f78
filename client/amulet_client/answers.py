"""Requests and answers as frozen values; protobuf stops here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

from google.protobuf.duration_pb2 import Duration

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
class Quality:
    """How good one photograph is in itself."""

    sharpness_var: float  # variance of the Laplacian at the checks' resolution; higher is sharper
    brightness_ratio: float  # mean luma, 0 to 1
    contrast_ratio: float  # standard deviation of luma, 0 to 1
    clipped_dark_ratio: float  # share of pixels at or near black
    clipped_bright_ratio: float


@dataclass(frozen=True, slots=True)
class ViewReport:
    """What one photograph brought to the answer."""

    width_px: int  # upright, before scaling
    height_px: int
    side: str  # as in View; empty: not said
    quality: Quality
    weight_ratio: float  # its share in the fused answer
    candidates: tuple[Candidate, ...]  # what it alone would have said, best first
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A reference photograph near to the one asked about."""

    example_id: str
    class_id: str
    similarity_ratio: float  # -1 to 1
    thumbnail_jpeg: bytes  # empty where it may not be shown
    display_name: str  # of its class, in the caller's language
    side: str  # as in View; empty: not known


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the gateway's time went."""

    total_ms: float
    decode_ms: float
    inference_ms: float  # the round trip to the backend
    journal_ms: float


@dataclass(frozen=True, slots=True)
class Prediction:
    prediction_id: str
    request_id: str
    model: str
    version: str
    level: str  # of the class tree that the candidates stand on; empty: leaves
    verdict: str  # "IN_DOMAIN", "UNSURE" or "OUT_OF_DISTRIBUTION"
    reasons: tuple[Finding, ...]
    candidates: tuple[Candidate, ...]  # best first
    class_candidates: tuple[Candidate, ...]  # the classes themselves, where the candidates stand on a level above
    prediction_set: tuple[str, ...]
    set_coverage: float
    ood_scores: tuple[OodScore, ...]
    views: tuple[ViewReport, ...]  # in the request's order
    heat_maps: tuple[HeatMap, ...]
    nearest_examples: tuple[Example, ...]
    disclaimer: str  # to be shown wherever a person sees the answer
    will_be_reviewed: bool
    answered_at: datetime
    timings: Timings
    replayed: bool
    audit_checkpoint: str  # keep it: it pins the audit log's past

    @property
    def best(self) -> Candidate | None:
        """The first candidate, whatever the verdict says about it."""
        return self.candidates[0] if self.candidates else None

    @staticmethod
    def of(response: pb.PredictResponse) -> Prediction:
        return Prediction(
            prediction_id=response.prediction_id,
            request_id=response.request_id,
            model=response.model,
            version=response.version,
            level=response.level,
            verdict=_name(words.Verdict.Name, response.verdict, "VERDICT_"),
            reasons=tuple(map(_finding, response.reasons)),
            candidates=tuple(map(_candidate, response.candidates)),
            class_candidates=tuple(map(_candidate, response.class_candidates)),
            prediction_set=tuple(response.prediction_set.class_ids),
            set_coverage=response.prediction_set.coverage,
            ood_scores=tuple(
                OodScore(each.detector, each.score, each.unsure_at, each.out_at) for each in response.ood_scores
            ),
            views=tuple(map(_view_report, response.views)),
            heat_maps=tuple(
                HeatMap(each.view, each.class_id, each.rows, each.columns, tuple(each.values), each.overlay_png)
                for each in response.heat_maps
            ),
            nearest_examples=tuple(
                Example(
                    each.example_id,
                    each.class_id,
                    each.similarity_ratio,
                    each.thumbnail_jpeg,
                    each.display_name,
                    _side_name(each.side),
                )
                for each in response.nearest_examples
            ),
            disclaimer=response.disclaimer,
            will_be_reviewed=response.will_be_reviewed,
            answered_at=response.answered_at.ToDatetime(tzinfo=UTC),
            timings=Timings(
                total_ms=_ms(response.timings.total),
                decode_ms=_ms(response.timings.decode),
                inference_ms=_ms(response.timings.inference),
                journal_ms=_ms(response.timings.journal),
            ),
            replayed=response.replayed,
            audit_checkpoint=response.audit_checkpoint,
        )


class Wishes(TypedDict, total=False):
    """What a request may ask for besides its photographs; what is left out is as the gateway likes it."""

    model: str  # the only one that the key may use, where it is not named
    version: str
    top_k: int  # candidates, 1 to 50
    explain: bool  # return heat maps
    overlay: bool  # and draw them over the photographs
    plus_plus: bool  # by Grad-CAM++ and not by Grad-CAM
    explain_class: str  # what the heat maps explain; the best candidate where it is not named
    nearest_examples: int  # reference examples, 0 to 10
    level: str  # of the class tree to answer at; "class": the classes; left out: the lowest level that is sure
    idempotency_key: str  # two calls with one key get one answer and leave one event
    request_id: str  # the caller's own, echoed back
    subject: str  # pseudonym of the person behind the photograph
    consent: str  # reference of the consent under which it may be kept
    keep: bool  # keep it, if the consent is valid


def request_of(views: Sequence[View | bytes | Path | str], **wishes: Unpack[Wishes]) -> pb.PredictRequest:
    """A request of the contract, as `predict_stream` takes them.

    Raises ValueError for no view, an unknown side, or a consent without a subject; OSError
    for a file that cannot be read.
    """
    if not views:
        raise ValueError("a prediction needs at least one photograph")
    subject, consent, keep = wishes.get("subject", ""), wishes.get("consent", ""), wishes.get("keep", False)
    if (consent or keep) and not subject:
        raise ValueError("a consent or a wish to keep the photograph needs the subject whose it is")
    request = pb.PredictRequest(
        request_id=wishes.get("request_id", ""),
        views=[pb.View(photo=view.photo, side=_side(view.side)) for view in map(View.of, views)],
        model=wishes.get("model", ""),
        version=wishes.get("version", ""),
        top_k=wishes.get("top_k", 0),
        idempotency_key=wishes.get("idempotency_key", ""),
        nearest_examples=wishes.get("nearest_examples", 0),
        level=wishes.get("level", ""),
    )
    if wishes.get("explain") or wishes.get("overlay"):
        plus_plus = wishes.get("plus_plus", False)
        request.explain.method = pb.Explain.METHOD_GRAD_CAM_PLUS_PLUS if plus_plus else pb.Explain.METHOD_GRAD_CAM
        request.explain.class_id = wishes.get("explain_class", "")
        request.explain.overlay = wishes.get("overlay", False)
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


def _name(name_of: Callable[[Any], str], number: int, prefix: str = "") -> str:
    """An enum's name without its prefix; the number where a newer gateway says what this client has no name for."""
    try:
        return name_of(number).removeprefix(prefix)
    except ValueError:
        return str(number)


def _candidate(candidate: pb.Candidate) -> Candidate:
    return Candidate(candidate.class_id, candidate.display_name, candidate.probability)


def _finding(finding: pb.Finding) -> Finding:
    return Finding(_name(words.Reason.Name, finding.reason), finding.message, finding.advice, finding.view)


def _view_report(view: pb.ViewReport) -> ViewReport:
    quality = view.quality
    return ViewReport(
        width_px=view.width_px,
        height_px=view.height_px,
        side=_side_name(view.side),
        quality=Quality(
            sharpness_var=quality.sharpness_var,
            brightness_ratio=quality.brightness_ratio,
            contrast_ratio=quality.contrast_ratio,
            clipped_dark_ratio=quality.clipped_dark_ratio,
            clipped_bright_ratio=quality.clipped_bright_ratio,
        ),
        weight_ratio=view.weight_ratio,
        candidates=tuple(map(_candidate, view.candidates)),
        findings=tuple(map(_finding, view.findings)),
    )


def _side_name(side: words.Side.ValueType) -> str:
    return _name(words.Side.Name, side, "SIDE_").lower() if side else ""


def _ms(duration: Duration) -> float:
    return duration.ToTimedelta().total_seconds() * 1000.0
