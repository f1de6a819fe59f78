"""Figures of classification, calibration and OOD detection: pure functions on arrays.

Probabilities are float [n, classes] with rows that sum to 1, labels int [n] in
0..classes-1. OOD scores rise the further out a photograph is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.statistics.intervals import Interval, first_rows, of_calibration_error

Rows = NDArray[np.floating]
Labels = NDArray[np.integer]

ECE_BINS: Final = 15
_DRAWS: Final = 2000
_SUM_TOLERANCE: Final = 1e-3  # rows of float32 probabilities
_PROBABILITY_MIN: Final = 1e-12  # a certain mistake costs 27.6 nats, not infinitely many


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Photographs whose confidence lies in (low, high]."""

    low: float
    high: float
    photos: int
    confidence: float  # mean; 0 where there are none
    accuracy: float


@dataclass(frozen=True, slots=True)
class CalibrationLuck:
    """What a model that means what it says would show as its calibration error, on as many photographs."""

    mean: float
    low: float  # between these, 95 % of the time
    high: float
    p_value: float  # how often it would show as much as was found, or more


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How one class fares. Of one without photographs nothing is known, though others may be called so."""

    photos: int
    answered: int  # photographs that were called this class
    hits: int

    @property
    def precision(self) -> float | None:
        """Of what was called this class, the share that is; None where nothing was, or it has no photograph."""
        return self.hits / self.answered if self.photos and self.answered else None

    @property
    def recall(self) -> float | None:
        """Of its photographs, the share that was called so; None where it has none."""
        return self.hits / self.photos if self.photos else None

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN); None where it has no photograph."""
        return 2.0 * self.hits / (self.photos + self.answered) if self.photos else None


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """What a model would get wrong if it answered only its most confident share (Geifman and El-Yaniv 2017)."""

    coverage: NDArray[np.float64]  # [n]: 1/n, ..., 1
    risk: NDArray[np.float64]  # [n]: share of mistakes among so many
    area: float  # AURC: mean risk; lower is better
    excess_area: float  # above that of an order that puts every mistake last (Geifman et al. 2019); 0 is perfect


def check_rows(probabilities: Rows, labels: Labels) -> None:
    """Raises ValueError where these are not probabilities with one label each, or there are none."""
    if probabilities.ndim != 2 or len(probabilities) != len(labels) or not len(labels):
        raise ValueError(f"need one row of probabilities for each of at least one label, not {probabilities.shape}")
    if not np.isfinite(probabilities).all() or (probabilities < 0.0).any():
        raise ValueError("probabilities are finite and at least 0")
    if np.abs(probabilities.sum(axis=1) - 1.0).max() > _SUM_TOLERANCE:
        raise ValueError("each row of probabilities sums to 1")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError("a label has no column of probabilities")


def confusion_matrix(labels: Labels, predicted: Labels, *, classes: int) -> NDArray[np.int64]:
    """counts[true, predicted], int64 [classes, classes]."""
    flat = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def accuracy(labels: Labels, predicted: Labels) -> float:
    return float((labels == predicted).mean())


def balanced_accuracy(labels: Labels, predicted: Labels) -> float:
    """Mean recall over the classes that have photographs."""
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))


def balanced_weights(labels: Labels, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """The weight of each photograph [n] in the balanced accuracy of a resample: `(predicted == labels) @ weights`.

    rows: indices of the resample. A class keeps its size in it where photographs are drawn within classes, and not
    where groups of several are.
    """
    sizes = np.bincount(labels[rows], minlength=int(labels.max()) + 1)
    of_each = 1.0 / (sizes[labels].clip(1) * np.count_nonzero(sizes))
    return np.asarray(np.bincount(rows, minlength=len(labels)) * of_each)


def class_scores(labels: Labels, predicted: Labels, *, classes: int) -> tuple[ClassScores, ...]:
    """One for each class, in their order."""
    counts = confusion_matrix(labels, predicted, classes=classes)
    return tuple(
        ClassScores(
            photos=int(counts[label].sum()), answered=int(counts[:, label].sum()), hits=int(counts[label, label])
        )
        for label in range(classes)
    )


def f1_per_class(labels: Labels, predicted: Labels) -> dict[int, float]:
    """F1 of each class that has a photograph; sorted by class."""
    classes = int(max(np.max(labels), np.max(predicted))) + 1
    scores = class_scores(labels, predicted, classes=classes)
    return {label: each.f1 for label, each in enumerate(scores) if each.f1 is not None}


def macro_f1(labels: Labels, predicted: Labels) -> float:
    """Mean of `f1_per_class`: over the classes that have photographs, as `balanced_accuracy` is.

    Where one has none but was answered, scikit-learn's counts it as 0.
    """
    return float(np.mean(list(f1_per_class(labels, predicted).values())))


def expected_calibration_error(probabilities: Rows, labels: Labels, *, bins: int = ECE_BINS) -> float:
    """Gap between confidence and accuracy, averaged over rows (Guo et al. 2017, equation 3).

    Bins are (0, 1/bins], ..., the last included. Raises ValueError on bad rows or n = 0.
    """
    check_rows(probabilities, labels)
    return confidence_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, bins=bins)


def confidence_error(confidence: Rows, correct: NDArray[np.bool_], *, bins: int = ECE_BINS) -> float:
    """The same of confidences [n] in 0..1 and of whether each answer was right [n]."""
    bin_of = np.ceil(confidence * bins).astype(int).clip(1, bins) - 1
    gap = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def luck_of_calibration(
    confidence: Rows,
    error: float,
    *,
    seed: int,
    groups: Labels | None = None,
    bins: int = ECE_BINS,
    draws: int = _DRAWS,
) -> CalibrationLuck:
    """The `confidence_error` of confidences [n] that are right as often as they say, by drawing which are right.

    confidence: [seeds, n] where several models answered the same photographs; the error is then the mean of theirs, and
    a photograph's luck is that of all.  error: what was found, in 0..1.  groups: of each photograph; those of one group
    share their luck, as copies do.
    Consistency resampling (Brocker and Smith 2007, section 3). It has no photographs to be wrong on but these: with few
    of them it is far from 0.
    """
    rng = np.random.default_rng(seed)
    own = np.atleast_2d(np.asarray(confidence, np.float64))
    count = int(own.shape[1])
    fate = np.arange(count) if groups is None else first_rows(groups)  # whose draw decides

    def once() -> float:
        chance = rng.random(count)[fate]
        return float(np.mean([confidence_error(each, chance < each, bins=bins) for each in own]))

    drawn = np.array([once() for _ in range(draws)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    # One more on both sides: no number of draws shows that something cannot happen (Davison and Hinkley 1997, 4.11).
    share = (1 + int((drawn >= error).sum())) / (1 + draws)
    return CalibrationLuck(float(drawn.mean()), float(low), float(high), float(share))


def calibration_interval(error: Interval, confidence: Rows, *, seed: int, groups: Labels | None = None) -> Interval:
    """Of a `confidence_error`, of its percentiles'; 0 belongs to it where luck shows as much (`of_calibration_error`).

    confidence, seed and groups as of `luck_of_calibration`.
    """
    luck = luck_of_calibration(confidence, error.value, seed=seed, groups=groups)
    return of_calibration_error(error, by_luck=luck.high)


def photographs_to_settle(luck: CalibrationLuck, photos: int, error: float) -> int:
    """How many photographs it takes until a calibrated model shows at most `error`, 97.5 % of the time; to the next 50.

    luck: of `photos` photographs, whose confidences the others share. What luck shows falls with the root of their
    number, as a mean's error does: each bin's gap is one.
    """
    return 50 * int(np.ceil(photos * (luck.high / error) ** 2 / 50.0))


def reliability(probabilities: Rows, labels: Labels, *, bins: int = ECE_BINS) -> tuple[ReliabilityBin, ...]:
    """The table behind `expected_calibration_error`, from low confidence to high."""
    check_rows(probabilities, labels)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.ceil(confidence * bins).astype(int).clip(1, bins) - 1
    table = []
    for number in range(bins):
        inside = bin_of == number
        filled = bool(inside.any())
        table.append(
            ReliabilityBin(
                low=number / bins,
                high=(number + 1) / bins,
                photos=int(inside.sum()),
                confidence=float(confidence[inside].mean()) if filled else 0.0,
                accuracy=float(correct[inside].mean()) if filled else 0.0,
            )
        )
    return tuple(table)


def equal_mass_calibration_error(probabilities: Rows, labels: Labels, *, bins: int = ECE_BINS) -> float:
    """As `expected_calibration_error`, with bins that hold as many photographs each (Nixon et al. 2019, section 3.2).

    Photographs of one confidence stay in one bin. Raises ValueError on bad rows or n = 0.
    """
    check_rows(probabilities, labels)
    confidence = probabilities.max(axis=1)
    order = np.argsort(confidence, kind="stable")
    bin_of = np.empty(len(labels), np.intp)
    bin_of[order] = np.arange(len(labels)) * bins // len(labels)
    values, place = np.unique(confidence, return_inverse=True)
    first = np.full(len(values), bins)
    np.minimum.at(first, place, bin_of)
    correct = probabilities.argmax(axis=1) == labels
    gaps = np.bincount(first[place], weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def classwise_calibration_error(probabilities: Rows, labels: Labels, *, bins: int = ECE_BINS) -> float:
    """The gap between probability and frequency of every class, averaged over classes (Kull et al. 2019, section 2).

    It sees what confidence in the best class hides. Bins as in `expected_calibration_error`.
    """
    check_rows(probabilities, labels)
    gaps = 0.0
    for label, column in enumerate(np.asarray(probabilities, np.float64).T):
        bin_of = np.ceil(column * bins).astype(int).clip(1, bins) - 1
        gaps += np.abs(np.bincount(bin_of, weights=(labels == label) - column, minlength=bins)).sum()
    return float(gaps / len(labels) / probabilities.shape[1])


def risk_coverage(confidence: Rows, correct: NDArray[np.bool_]) -> RiskCoverage:
    """confidence [n], correct [n], n at least 1; photographs of one confidence share their mistakes evenly.

    Raises ValueError where there are none or the lengths differ.
    """
    if not len(confidence) or len(confidence) != len(correct):
        raise ValueError("a risk-coverage curve needs a confidence for each of at least one answer")
    values, place = np.unique(-np.asarray(confidence, np.float64), return_inverse=True)
    mistakes = np.bincount(place, weights=~correct, minlength=len(values)) / np.bincount(place, minlength=len(values))
    ranks = np.arange(1, len(correct) + 1)
    risk = np.cumsum(mistakes[np.sort(place)]) / ranks
    best = np.maximum(ranks - int(correct.sum()), 0) / ranks
    return RiskCoverage(ranks / len(correct), risk, float(risk.mean()), float(risk.mean() - best.mean()))


def brier(probabilities: Rows, labels: Labels) -> float:
    """Mean squared distance to certainty in the truth, summed over classes: 0 to 2 (Brier 1950)."""
    check_rows(probabilities, labels)
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probabilities: Rows, labels: Labels) -> float:
    """Mean of -log p(true class), in nats."""
    check_rows(probabilities, labels)
    true = np.asarray(probabilities, np.float64)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, _PROBABILITY_MIN)).mean())


def auroc(known: Rows, outside: Rows) -> float:
    """Chance that a photograph of another thing scores above one of a known class; ties count half.

    known [n], outside [m]: OOD scores, both not empty (Hanley and McNeil 1982). Raises ValueError where one is empty or
    holds nan.
    """
    _check_scores(known, outside)
    ordered = np.sort(known)
    below = np.searchsorted(ordered, outside, side="left")
    not_above = np.searchsorted(ordered, outside, side="right")
    return float((below + not_above).mean() / 2.0 / len(known))


@dataclass(frozen=True, slots=True)
class Ranked:
    """OOD scores in their order: the AUROC of a resample is counted in it, and nothing is sorted again."""

    order: NDArray[np.intp]  # of the known [n], lowest first
    below: NDArray[np.intp]  # [m]: how many of the known score lower than each one outside
    not_above: NDArray[np.intp]  # [m]: the same with those that score as high

    def auroc(self, known: NDArray[np.integer], outside: NDArray[np.integer]) -> float:
        """As the function of that name, of a resample that holds each known photograph [n] and each one outside [m] so
        many times; nan where it holds none of one kind.
        """
        ordered = np.concatenate([[0], np.cumsum(known[self.order])])
        total, count = int(ordered[-1]), int(outside.sum())
        if not total or not count:
            return float("nan")
        return float((ordered[self.below] + ordered[self.not_above]) @ outside / count / 2.0 / total)


def ranked(known: Rows, outside: Rows) -> Ranked:
    """known [n], outside [m]. Raises ValueError as `auroc` does."""
    _check_scores(known, outside)
    order = np.argsort(known, kind="stable")
    below, not_above = (np.searchsorted(known[order], outside, side=side) for side in ("left", "right"))
    return Ranked(order, below, not_above)


def auroc_of_a_version(known: Rows, version: NDArray[np.integer], outside: Rows) -> float:
    """The AUROC to expect of one version, from several that each scored known photographs of their own.

    known [n]: by the version of that number [n].  outside [versions, m]: other things, by every version.
    A known photograph is compared with other things as its own version scores them, which is what a caller of one
    version meets. The mean over versions of a score has less noise than any of them and would be told more easily; and
    borders and distances of one version are no scale for another, so that all scores in one pool tell them worse.
    """
    found = np.unique(version)
    areas = [auroc(known[version == number], outside[number]) for number in found]
    return float(np.average(areas, weights=[np.count_nonzero(version == number) for number in found]))


def fpr_at_95_tpr(known: Rows, outside: Rows) -> float:
    """Share of other things taken for known where 95 % of the known photographs are accepted.

    Accepted: a score at or below the least border that accepts at least 95 % of `known`. Raises as `auroc` does.
    """
    _check_scores(known, outside)
    border = np.sort(known)[int(np.ceil(0.95 * len(known))) - 1]
    return float((outside <= border).mean())


def _check_scores(known: Rows, outside: Rows) -> None:
    if not len(known) or not len(outside):
        raise ValueError("OOD scores are compared between two sets that both have photographs")
    # In an order nan comes last: a detector that fails on all other things would tell every one of them.
    if np.isnan(known).any() or np.isnan(outside).any():
        raise ValueError("OOD scores are numbers, not nan")
