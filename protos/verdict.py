"""What an answer claims, given what the graph said: one rule for training and serving.

`amulet evaluate` reports with this rule and the gateway answers with it, so that the
figures on a card are figures of what callers get. Pure functions on numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from protos.amulet.v1 import vocabulary_pb2 as words


@dataclass(frozen=True, slots=True)
class DetectorLimits:
    """Where one OOD detector's score changes what is claimed. Higher is further out."""

    name: str
    typical: float  # median on held-out photographs of the known classes
    unsure_at: float  # typical < unsure_at <= out_at
    out_at: float

    def __post_init__(self) -> None:
        if not self.typical < self.unsure_at <= self.out_at:
            raise ValueError(
                f"detector {self.name}: typical {self.typical}, unsure_at {self.unsure_at} and out_at "
                f"{self.out_at} must rise in this order"
            )

    def ratio(self, score: float) -> float:
        """The score on a scale where a typical photograph is 0 and the border to "out" is 1."""
        return (score - self.typical) / (self.out_at - self.typical)


@dataclass(frozen=True, slots=True)
class DecisionLimits:
    """The thresholds of one model version. Probabilities are calibrated, 0 to 1."""

    confidence_min: float
    margin_min: float  # between the two best probabilities
    detectors: tuple[DetectorLimits, ...]  # the first leads: it orders photographs that all of them let pass
    set_coverage: float = 0.0  # 0: the version promises no prediction sets
    set_probability_min: float = 1.0  # classes at or above belong to the set


@dataclass(frozen=True, slots=True)
class Level:
    """A cut through the class tree: each class belongs to exactly one of its groups."""

    id: str
    group_of: tuple[int, ...]  # for each class, the number of its group: 0, 1, ...
    set_probability_min: float  # groups at or above belong to the set

    def of(self, probabilities: Sequence[float]) -> tuple[float, ...]:
        """The probability of each group: the sum over its classes."""
        sums = [0.0] * (max(self.group_of) + 1)
        for group, probability in zip(self.group_of, probabilities, strict=True):
            sums[group] += probability
        return tuple(sums)


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: words.Verdict.ValueType
    reasons: tuple[words.Reason.ValueType, ...]  # empty exactly when in domain
    ood_score: float  # 1 is the border to "out"


def decide(probabilities: Sequence[float], scores: Mapping[str, float], limits: DecisionLimits) -> Decision:
    """Apply the limits to one (fused) answer of the graph.

    probabilities: one per class, summing to 1.  scores: one per detector of the limits.
    Any detector can call a photograph out. The OOD score is the ratio of the first, and below the border
    of that one alone: the largest of several would mix each one's accidents into the order (decision 0100).
    Raises ValueError when there is no class or a detector's score is missing; extra scores
    are measured but not used.
    """
    if not probabilities:
        raise ValueError("an answer needs at least one probability")
    missing = [detector.name for detector in limits.detectors if detector.name not in scores]
    if missing:
        raise ValueError(f"no score from {', '.join(missing)}")
    best, *others = sorted(probabilities, reverse=True)
    out = any(scores[detector.name] >= detector.out_at for detector in limits.detectors)
    unfamiliar = any(scores[detector.name] >= detector.unsure_at for detector in limits.detectors)
    ratios = [detector.ratio(scores[detector.name]) for detector in limits.detectors]
    ood_score = max(ratios[:1] + [ratio for ratio in ratios[1:] if ratio >= 1.0], default=0.0)
    if out:
        return Decision(words.VERDICT_OUT_OF_DISTRIBUTION, (words.REASON_NOT_OUR_KIND,), ood_score)
    reasons: list[words.Reason.ValueType] = []
    if unfamiliar:
        reasons.append(words.REASON_UNFAMILIAR)
    if best < limits.confidence_min:
        reasons.append(words.REASON_LOW_CONFIDENCE)
    if others and best - others[0] < limits.margin_min:
        reasons.append(words.REASON_TOO_CLOSE_TO_CALL)
    verdict = words.VERDICT_UNSURE if reasons else words.VERDICT_IN_DOMAIN
    return Decision(verdict, tuple(reasons), ood_score)


def prediction_set(probabilities: Sequence[float], limits: DecisionLimits) -> tuple[int, ...]:
    """Indices of the classes in the conformal set, best first; empty where none is promised.

    Split conformal prediction with the score 1 - p (Vovk et al. 2005; Angelopoulos & Bates
    2023, section 1): the limit is a quantile over the calibration photographs. The best
    class is always a member, which can only raise the coverage.
    """
    if limits.set_coverage <= 0.0 or not probabilities:
        return ()
    order = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
    return (order[0], *(index for index in order[1:] if probabilities[index] >= limits.set_probability_min))


def at_level(limits: DecisionLimits, level: Level) -> DecisionLimits:
    """The limits of an answer at a level: those of the classes, but for its own prediction sets."""
    return replace(limits, set_probability_min=level.set_probability_min)


def sure_level(
    probabilities: Sequence[float], scores: Mapping[str, float], limits: DecisionLimits, levels: Sequence[Level]
) -> int | None:
    """The lowest level that is sure, as an index of `levels` (lowest first); None where none is.

    A level is sure where `decide` finds its groups' probabilities in domain and its conformal set
    holds one group alone. So of all photographs, at most 1 - coverage are answered wrongly at it:
    a wrong group in a set of one is a set without the truth.
    """
    for index, level in enumerate(levels):
        groups, own = level.of(probabilities), at_level(limits, level)
        if decide(groups, scores, own).verdict == words.VERDICT_IN_DOMAIN and len(prediction_set(groups, own)) <= 1:
            return index
    return None
