"""What is said about an object: verdict, reasons with advice, candidates, in the caller's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from gateway.snapshot import ClassName, ServedLevel, ServedVersion
from gateway.wording import DEFAULT_LANGUAGE, look_alikes, words_for
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import Decision, at_level, decide, prediction_set, sure_level
from protos.wording import DISCLAIMER

ALL_VIEWS: Final = -1
CLASS_LEVEL: Final = "class"  # what a caller asks for who wants no level above the classes
_ABOUT_CLASSES: Final = frozenset({words.REASON_LOW_CONFIDENCE, words.REASON_TOO_CLOSE_TO_CALL})


@dataclass(frozen=True, slots=True)
class Remark:
    """A reason, and the view that it concerns."""

    reason: words.Reason.ValueType
    view: int = ALL_VIEWS
    alike_from: tuple[words.Side.ValueType, ...] = ()  # of look-alikes: the sides that do not tell them apart
    decided_by: tuple[words.Side.ValueType, ...] = ()  # and those that do


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
    set_indices: tuple[int, ...]  # of classes
    views: tuple[ViewAnswer, ...]
    level: ServedLevel | None = None  # that the answer stands on; None: the classes

    @property
    def best_index(self) -> int:
        return int(self.probabilities.argmax())


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, monotonic."""

    total_s: float
    decode_s: float
    inference_s: float
    journal_s: float


def conclude(version: ServedVersion, fused: Fused, views: Sequence[ViewAnswer], *, level: str = "") -> Conclusion:
    """Apply the verdict rule to the fused answer, then what the photographs themselves stand in the way of.

    level: that the caller asked for; a version that has none of this name answers with classes. Unasked,
    an answer that is unsure among classes stands on the lowest level that is sure.

    Where every view is gravely short of quality, or the views show different objects, the
    model cannot know: whatever it claims becomes UNSURE, with the quality first among the reasons.
    """
    probabilities = [float(value) for value in fused.probabilities]
    standing = next((served for served in version.levels if served.rule.id == level), None)
    decision = _decision(version, probabilities, fused.scores, standing)
    grave = [[short.reason for short in view.shortcomings if short.grave] for view in views]
    remarks = [Remark(reason) for reason in decision.reasons]
    if standing is None and _ABOUT_CLASSES & set(decision.reasons):
        remarks += _look_alikes(version, probabilities, views)
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
    seen = not all(grave) and not fused.views_disagree
    if not level and seen and verdict == words.VERDICT_UNSURE:
        rules = [served.rule for served in version.levels]
        sure = sure_level(probabilities, fused.scores, version.limits, rules)
        standing = None if sure is None else version.levels[sure]
    return Conclusion(
        version=version,
        verdict=verdict,
        remarks=tuple(remarks),
        probabilities=fused.probabilities,
        scores=dict(fused.scores),
        set_indices=prediction_set(probabilities, version.limits),
        views=tuple(views),
        level=standing,
    )


def _decision(
    version: ServedVersion, probabilities: Sequence[float], scores: Mapping[str, float], level: ServedLevel | None
) -> Decision:
    if level is None:
        return decide(probabilities, scores, version.limits)
    return decide(level.rule.of(probabilities), scores, at_level(version.limits, level.rule))


def _look_alikes(version: ServedVersion, probabilities: Sequence[float], views: Sequence[ViewAnswer]) -> list[Remark]:
    """Where the two best classes look alike from every side that is shown: what further photograph would decide."""
    best_two = frozenset(sorted(range(len(probabilities)), key=lambda index: -probabilities[index])[:2])
    pairs = [pair for pair in version.look_alikes if pair.classes == best_two]
    alike_from = dict.fromkeys(pair.side for pair in pairs)
    decided_by = dict.fromkeys(side for pair in pairs for side in pair.decided_by)
    shown = {view.side for view in views} - {words.SIDE_UNSPECIFIED}  # a side that nobody named may be any
    if not pairs or shown & set(decided_by) or not (words.SIDE_UNSPECIFIED in alike_from or shown <= set(alike_from)):
        return []
    return [Remark(words.REASON_LOOK_ALIKES, alike_from=tuple(alike_from), decided_by=tuple(decided_by))]


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
    version, level = conclusion.version, conclusion.level
    response = pb.PredictResponse(
        prediction_id=prediction_id,
        request_id=request_id,
        model=version.model,
        version=version.version,
        verdict=conclusion.verdict,
        reasons=[finding_of(remark, language) for remark in (*conclusion.remarks, *remarks)],
        candidates=_standing(conclusion, conclusion.probabilities, top_k, language),
        prediction_set=pb.PredictionSet(class_ids=_set_of(conclusion), coverage=version.limits.set_coverage),
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
        level="" if level is None else level.rule.id,
        class_candidates=[]
        if level is None
        else candidates_of(version.classes, conclusion.probabilities, top_k, language),
    )
    response.answered_at.GetCurrentTime()
    return response


def committed(response: pb.PredictResponse, *, total_s: float, journal_s: float) -> None:
    """Say in an answer that it is durable now, and how long that took."""
    response.timings.total.CopyFrom(duration_of(total_s))
    response.timings.journal.CopyFrom(duration_of(journal_s))
    response.answered_at.GetCurrentTime()


def finding_of(remark: Remark, language: str) -> pb.Finding:
    text = words_for(remark.reason, language)
    if remark.reason == words.REASON_LOOK_ALIKES:
        text = look_alikes(remark.alike_from, remark.decided_by, language)
    return pb.Finding(reason=remark.reason, message=text.message, advice=text.advice, view=remark.view)


def best_group(conclusion: Conclusion) -> pb.Candidate | None:
    """The best at the level that the answer stands on, as events carry it; None where it stands on the classes."""
    return None if conclusion.level is None else _standing(conclusion, conclusion.probabilities, 1, None)[0]


def _standing(
    conclusion: Conclusion, probabilities: NDArray[np.float64], top_k: int, language: str | None
) -> list[pb.Candidate]:
    """Candidates on the level that the answer stands on. probabilities [classes]."""
    level = conclusion.level
    if level is None:
        return candidates_of(conclusion.version.classes, probabilities, top_k, language)
    return candidates_of(level.groups, np.array(level.rule.of(probabilities.tolist())), top_k, language)


def _set_of(conclusion: Conclusion) -> list[str]:
    """The prediction set on the level that the answer stands on."""
    version, level = conclusion.version, conclusion.level
    if level is None:
        return [version.classes[index].class_id for index in conclusion.set_indices]
    chosen = prediction_set(level.rule.of(conclusion.probabilities.tolist()), at_level(version.limits, level.rule))
    return [level.groups[index].class_id for index in chosen]


def candidates_of(
    names: Sequence[ClassName], probabilities: NDArray[np.float64], top_k: int, language: str | None
) -> list[pb.Candidate]:
    """Best first. language None: without names, as events carry them."""
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return [
        pb.Candidate(
            class_id=names[index].class_id,
            display_name="" if language is None else display_name(names[index], language),
            probability=float(probabilities[index]),
        )
        for index in order
    ]


def display_name(known: ClassName, language: str) -> str:
    """In the caller's language, else in English, else the class id."""
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
        display_name=display_name(version.classes[neighbour.class_index], language),
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
        candidates=_standing(conclusion, view.probabilities, top_k, language),
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
