"""What is said about an object: verdict, reasons with advice, candidates, in the caller's language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.errors import duration_of
from gateway.fusion import Fused
from gateway.intake.photo import Photo
from gateway.intake.quality import Quality, Shortcoming
from gateway.serving.torchserve import Neighbour
from gateway.snapshot import ServedVersion
from gateway.wording import DEFAULT_LANGUAGE, words_for
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import decide, prediction_set
from protos.wording import DISCLAIMER

ALL_VIEWS: Final = -1


@dataclass(frozen=True, slots=True)
class Remark:
    """A reason, and the view that it concerns."""

    reason: words.Reason.ValueType
    view: int = ALL_VIEWS


@dataclass(frozen=True, slots=True)
class Heat:
    """Where the graph looked for one class."""

    method: pb.Explain.Method.ValueType
    view: int
    class_index: int
    grid: NDArray[np.float32]  # [rows, columns], at least 0
    overlay_png: bytes = b""


@dataclass(frozen=True, slots=True)
class ViewAnswer:
    photo: Photo
    side: words.Side.ValueType
    shortcomings: tuple[Shortcoming, ...]
    share_ratio: float  # in the fused answer; the shares of all views sum to 1
    probabilities: NDArray[np.float64]  # [classes], of this view alone


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the photographs add up to, before anything is worded or recorded."""

    version: ServedVersion
    verdict: words.Verdict.ValueType
    remarks: tuple[Remark, ...]
    probabilities: NDArray[np.float64]  # [classes], fused
    scores: dict[str, float]  # detector -> fused score
    set_indices: tuple[int, ...]
    views: tuple[ViewAnswer, ...]

    @property
    def best_index(self) -> int:
        return int(self.probabilities.argmax())

    def order(self) -> list[int]:
        """Class indices, best first; ties in the card's order."""
        return [int(index) for index in np.argsort(-self.probabilities, kind="stable")]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, monotonic."""

    total_s: float
    decode_s: float
    inference_s: float
    journal_s: float


def conclude(version: ServedVersion, fused: Fused, views: Sequence[ViewAnswer]) -> Conclusion:
    """Apply the verdict rule to the fused answer, then what the photographs themselves stand in the way of.

    Where every view is gravely short of quality, or the views show different objects, the
    model cannot know: whatever it claims becomes UNSURE, with the quality first among the reasons.
    """
    probabilities = [float(value) for value in fused.probabilities]
    decision = decide(probabilities, fused.scores, version.limits)
    grave = [[short.reason for short in view.shortcomings if short.grave] for view in views]
    remarks = [Remark(reason) for reason in decision.reasons]
    verdict = decision.verdict
    if all(grave):
        verdict = words.VERDICT_UNSURE
        because = [
            Remark(reason, index if len(views) > 1 else ALL_VIEWS)
            for index, reasons in enumerate(grave)
            for reason in reasons
        ]
        # "Not our kind" is a claim about the object, and this one cannot be seen.
        remarks = because + [remark for remark in remarks if remark.reason != words.REASON_NOT_OUR_KIND]
    if fused.views_disagree:
        if verdict == words.VERDICT_IN_DOMAIN:
            verdict = words.VERDICT_UNSURE
        remarks.append(Remark(words.REASON_VIEWS_DISAGREE))
    return Conclusion(
        version=version,
        verdict=verdict,
        remarks=tuple(remarks),
        probabilities=fused.probabilities,
        scores=dict(fused.scores),
        set_indices=prediction_set(probabilities, version.limits),
        views=tuple(views),
    )


def response_of(
    conclusion: Conclusion,
    *,
    prediction_id: str,
    request_id: str,
    top_k: int,
    heats: Sequence[Heat],
    examples: Sequence[Neighbour],
    remarks: Sequence[Remark],
    will_be_reviewed: bool,
    timing: Timing,
    audit_checkpoint: str,
    language: str,
) -> pb.PredictResponse:
    """The answer as it travels. remarks: further ones that leave the verdict as it is."""
    version = conclusion.version
    response = pb.PredictResponse(
        prediction_id=prediction_id,
        request_id=request_id,
        model=version.model,
        version=version.version,
        verdict=conclusion.verdict,
        reasons=[finding_of(remark, language) for remark in (*conclusion.remarks, *remarks)],
        candidates=candidates_of(version, conclusion.probabilities, top_k, language),
        prediction_set=pb.PredictionSet(
            class_ids=[version.classes[index].class_id for index in conclusion.set_indices],
            coverage=version.limits.set_coverage,
        ),
        ood_scores=ood_scores_of(version, conclusion.scores),
        views=[_report_of(conclusion, index, top_k, language) for index in range(len(conclusion.views))],
        heat_maps=[_heat_map_of(heat, version) for heat in heats],
        nearest_examples=[_example_of(example, version, language) for example in examples],
        disclaimer=DISCLAIMER[language],
        will_be_reviewed=will_be_reviewed,
        timings=pb.Timings(
            total=duration_of(timing.total_s),
            decode=duration_of(timing.decode_s),
            inference=duration_of(timing.inference_s),
            journal=duration_of(timing.journal_s),
        ),
        audit_checkpoint=audit_checkpoint,
    )
    response.answered_at.GetCurrentTime()
    return response


def finding_of(remark: Remark, language: str) -> pb.Finding:
    text = words_for(remark.reason, language)
    return pb.Finding(reason=remark.reason, message=text.message, advice=text.advice, view=remark.view)


def candidates_of(
    version: ServedVersion, probabilities: NDArray[np.float64], top_k: int, language: str | None
) -> list[pb.Candidate]:
    """Best first. language None: without names, as events carry them."""
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return [
        pb.Candidate(
            class_id=version.classes[index].class_id,
            display_name="" if language is None else display_name(version, int(index), language),
            probability=float(probabilities[index]),
        )
        for index in order
    ]


def display_name(version: ServedVersion, index: int, language: str) -> str:
    """In the caller's language, else in English, else the class id."""
    known = version.classes[index]
    return known.display_names.get(language) or known.display_names.get(DEFAULT_LANGUAGE) or known.class_id


def ood_scores_of(version: ServedVersion, scores: dict[str, float]) -> list[pb.OodScore]:
    return [
        pb.OodScore(detector=limit.name, score=scores[limit.name], unsure_at=limit.unsure_at, out_at=limit.out_at)
        for limit in version.limits.detectors
    ]


def quality_of(quality: Quality) -> pb.Quality:
    return pb.Quality(
        sharpness_var=quality.sharpness_var,
        brightness_ratio=quality.brightness_ratio,
        contrast_ratio=quality.contrast_ratio,
        clipped_dark_ratio=quality.clipped_dark_ratio,
        clipped_bright_ratio=quality.clipped_bright_ratio,
    )


def nearest_of(views: Sequence[Sequence[Neighbour]], count: int) -> list[Neighbour]:
    """The references nearest to the object: each as near as to the view that it is nearest to."""
    nearest: dict[str, Neighbour] = {}
    for neighbour in sorted(chain.from_iterable(views), key=lambda neighbour: -neighbour.cosine):
        nearest.setdefault(neighbour.example_id, neighbour)
    return list(nearest.values())[:count]


def _example_of(neighbour: Neighbour, version: ServedVersion, language: str) -> pb.Example:
    return pb.Example(
        example_id=neighbour.example_id,
        class_id=version.classes[neighbour.class_index].class_id,
        similarity_ratio=neighbour.cosine,
        thumbnail_jpeg=neighbour.thumbnail_jpeg,
        display_name=display_name(version, neighbour.class_index, language),
        side=neighbour.side,
    )


def _report_of(conclusion: Conclusion, index: int, top_k: int, language: str) -> pb.ViewReport:
    view = conclusion.views[index]
    return pb.ViewReport(
        width_px=view.photo.source_px[0],
        height_px=view.photo.source_px[1],
        side=view.side,
        quality=quality_of(view.photo.quality),
        weight_ratio=view.share_ratio,
        candidates=candidates_of(conclusion.version, view.probabilities, top_k, language),
        findings=[finding_of(Remark(short.reason, index), language) for short in view.shortcomings],
    )


def _heat_map_of(heat: Heat, version: ServedVersion) -> pb.HeatMap:
    rows, columns = heat.grid.shape
    return pb.HeatMap(
        view=heat.view,
        class_id=version.classes[heat.class_index].class_id,
        method=heat.method,
        rows=rows,
        columns=columns,
        values=heat.grid.ravel().tolist(),
        overlay_png=heat.overlay_png,
    )
