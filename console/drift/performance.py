"""How often a version is right, from its confidence alone and corrected by reviewed labels. Pure functions.

Without labels: the mean confidence, less what it was above the accuracy in training. A version that has become less
sure is expected to have become worse by as much.

With labels: every answer's confidence is known and a few answers are reviewed. What the confidence says of all is
corrected by how far it is off where experts spoke, which varies less than whether an answer is right; so fewer
reviews tell as much. How far the confidence is believed is fitted, so that a bad one costs nothing.

Answers are parted as the queue parts them (`console.review.accuracy`). Which part an answer belongs to and its
twentieth of confidence stand in the tallies: what this costs does not grow with the traffic.

Guillory, D. et al. (2021), Predicting with confidence on unseen distributions, ICCV, eq. 2: difference of confidences.
Angelopoulos, A. N., Bates, S., Fannjiang, C., Jordan, M. I., Zrnic, T. (2023), Prediction-powered inference, Science
    382, 669-674; Angelopoulos, A. N., Duchi, J. C., Zrnic, T. (2023), PPI++, arXiv:2311.01453, eq. 3 and proposition 2:
    the fitted factor.
Cassel, C. M., Sarndal, C. E., Wretman, J. H. (1976), Biometrika 63, 615-620: the same in a finite population.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from console.predictions.models import Tally
from console.review.agreement import Share, score_interval

Cells = Mapping[int, int]  # twentieth of confidence (`Tally.BINS`) -> how many answers


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers of one twentieth of confidence that reached the queue with one probability and were judged."""

    sampling_ratio: float  # above 0, at most 1
    confidence_bin: int
    compared: int
    agreed: int  # of these, how many an expert confirms


@dataclass(frozen=True, slots=True)
class Part:
    """Answers that reach the queue for one reason, and what of them was judged."""

    cells: Cells  # all of them, in the queue or not
    judged: tuple[Judged, ...] = ()

    @property
    def answers(self) -> int:
        return sum(self.cells.values())


@dataclass(frozen=True, slots=True)
class Correction:
    """What reviews say of one part: how often answers are right, and how far confidence tells it."""

    right: float  # weighted share, 0 to 1
    confidence: float  # weighted mean confidence of the same
    spread: float  # variance of right less factor times confidence, as a ratio of that of right alone
    effective: float  # how many independent reviews it is worth
    n: int
    left: float  # which share of the part was not judged, 0 to 1


@dataclass(frozen=True, slots=True)
class Fitted:
    """Corrections of all parts, and the factor by which confidence is believed, 0 to 1."""

    corrections: tuple[Correction | None, ...]  # None: nothing of the part was judged
    factor: float

    def elsewhere(self) -> Fitted:
        """For other answers than those that were judged, a day's for example: none of them is known."""
        corrections = tuple(None if each is None else replace(each, left=1.0) for each in self.corrections)
        return Fitted(corrections, self.factor)


def from_confidence(now: Cells, *, training: Cells, training_accuracy: float) -> float | None:
    """Difference of confidences: the accuracy in training, and how much surer it is now. None without answers."""
    if not sum(now.values()) or not sum(training.values()):
        return None
    return min(1.0, max(0.0, training_accuracy + _mean(now) - _mean(training)))


def fit(parts: Sequence[Part], *, believed: bool = True) -> Fitted:
    """What the reviews of all parts say; without belief in confidence, from the labels alone.

    Raises ValueError on counts that cannot be.
    """
    moments = [_moments(part) for part in parts]
    total = sum(part.answers for part in parts)
    above = below = 0.0
    for part, found in zip(parts, moments, strict=True):
        if found is None or found.n < 2:
            continue
        weight = (part.answers / total) ** 2 * found.left / found.effective
        above += weight * found.together
        below += weight * found.of_confidence
    factor = min(1.0, max(0.0, above / below)) if believed and below else 0.0
    return Fitted(tuple(None if found is None else found.correction(factor) for found in moments), factor)


def estimate(parts: Sequence[Cells], fitted: Fitted) -> Share | None:
    """The share of these answers that an expert would confirm, with a 95 % interval; None without reviews or answers.

    parts: the answers of each part that was fitted, all of them or those of a day.  A part that nobody reviewed is
    as far off its confidence as the others are, and has an interval from 0 to 1.
    """
    total = sum(sum(cells.values()) for cells in parts)
    known = [each for each in fitted.corrections if each is not None]
    if not total or not known:
        return None
    off = sum(each.n * (each.right - each.confidence) for each in known) / sum(each.n for each in known)
    value = low = high = 0.0
    for cells, each in zip(parts, fitted.corrections, strict=True):
        if not (answers := sum(cells.values())):
            continue
        share = _share(cells, each, fitted.factor, off)
        value += answers / total * share.value
        low += (answers / total * (share.value - share.low)) ** 2
        high += (answers / total * (share.high - share.value)) ** 2
    n = sum(each.n for each in known)
    return Share(value, max(0.0, value - math.sqrt(low)), min(1.0, value + math.sqrt(high)), n)


def _share(cells: Cells, correction: Correction | None, factor: float, off: float) -> Share:
    if correction is None:
        return Share(min(1.0, max(0.0, _mean(cells) + off)), 0.0, 1.0, 0)
    value = correction.right + factor * (_mean(cells) - correction.confidence)
    if correction.left == 0:  # everything was looked at: nothing is estimated
        return Share(correction.right, correction.right, correction.right, correction.n)
    value = min(1.0, max(0.0, value))
    return score_interval(value, correction.effective / correction.spread / correction.left)


@dataclass(frozen=True, slots=True)
class _Moments:
    right: float
    confidence: float
    of_right: float  # variance
    of_confidence: float
    together: float  # covariance
    effective: float
    n: int
    left: float

    def correction(self, factor: float) -> Correction:
        rest = self.of_right - 2 * factor * self.together + factor**2 * self.of_confidence
        # All right, or all wrong: what confidence adds cannot be told, and Wilson's limits stand as they are.
        spread = rest / self.of_right if self.of_right > 0 else 1.0
        return Correction(self.right, self.confidence, max(spread, _SPREAD_MIN), self.effective, self.n, self.left)


_SPREAD_MIN: Final = 0.2  # a few reviews may fit by chance better than confidence ever tells right from wrong


def _moments(part: Part) -> _Moments | None:
    rows = [each for each in part.judged if each.compared]
    for each in part.judged:
        if not 0 < each.sampling_ratio <= 1:
            raise ValueError(f"a sampling ratio lies above 0 and up to 1, not at {each.sampling_ratio}")
        if not 0 <= each.agreed <= each.compared:
            raise ValueError(f"{each} counts more than there are")
    n = sum(each.compared for each in rows)
    if n > part.answers:
        raise ValueError(f"{n} answers are judged of the {part.answers} that there are")
    if not rows:
        return None
    total = sum(each.compared / each.sampling_ratio for each in rows)
    right = sum(each.agreed / each.sampling_ratio for each in rows) / total
    confidence = sum(each.compared / each.sampling_ratio * _middle(each.confidence_bin) for each in rows) / total
    of_right = of_confidence = together = 0.0
    for each in rows:
        away = _middle(each.confidence_bin) - confidence
        sure, unsure = each.agreed / each.sampling_ratio / total, (each.compared - each.agreed) / each.sampling_ratio
        unsure /= total
        of_right += sure * (1 - right) ** 2 + unsure * right**2
        of_confidence += (sure + unsure) * away**2
        together += sure * (1 - right) * away - unsure * right * away
    effective = total**2 / sum(each.compared / each.sampling_ratio**2 for each in rows)
    return _Moments(right, confidence, of_right, of_confidence, together, effective, n, 1 - n / part.answers)


def _mean(cells: Cells) -> float:
    return sum(_middle(place) * count for place, count in cells.items()) / sum(cells.values())


def _middle(place: int) -> float:
    return (place + 0.5) / Tally.BINS
