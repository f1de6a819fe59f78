"""How often a version is right in production, from a queue that prefers hard cases. Pure functions.

Whether an answer comes before a person is no accident: unsure ones, those out of distribution, those of
low confidence and those that callers contradict all come; of the rest a sample, drawn with a known
probability. The answers of a version are therefore parted into strata, one for each reason. All of the
first are in the queue, so the queue is the stratum. What remains of the traffic is the stratum of the
sample, in which each reviewed answer stands for as many as its probability says.

Horvitz, D. G. and Thompson, D. J. (1952), A generalization of sampling without replacement from a
    finite universe, JASA 47, 663-685: weights that are the inverse of the probabilities.
Hajek, J. (1971), in: Foundations of Statistical Inference, p. 236: divided by the sum of the weights.
Cochran, W. G. (1977), Sampling Techniques, 3rd ed., eqs 5.1 and 2.12: strata, finite populations.
Kish, L. (1965), Survey Sampling, section 11.7: the effective number of weighted observations.
Zou, G. Y. and Donner, A. (2008), Construction of confidence limits about effect measures: a general
    approach, Statistics in Medicine 27, 1693-1702: limits of a sum from limits of its parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from console.review.agreement import Share, score_interval


@dataclass(frozen=True, slots=True)
class Group:
    """Answers that reached the queue with one probability."""

    sampling_ratio: float  # above 0, at most 1
    queued: int
    compared: int  # of them, those with an expert's decision in force that agrees or disagrees
    agreed: int  # of these


@dataclass(frozen=True, slots=True)
class Stratum:
    """All answers of one kind, and what of them was reviewed."""

    answers: int  # how many there were, in the queue or not
    groups: tuple[Group, ...]

    @property
    def compared(self) -> int:
        return sum(group.compared for group in self.groups)


def accuracy(strata: Sequence[Stratum]) -> Share | None:
    """The share of all answers that an expert would confirm, with a 95 % interval; None without any review.

    Within a group, the reviewed answers are taken for a random part of the queued ones: what experts have not
    come to, or cannot judge, is as often right as the rest of its group. A stratum without any review has
    the mean of the others, and an interval from 0 to 1. Raises ValueError on counts that cannot be.
    """
    for stratum in strata:
        _check(stratum)
    total = sum(stratum.answers for stratum in strata if stratum.answers)
    compared = sum(stratum.compared for stratum in strata)
    if not compared:
        return None
    parts = [(stratum.answers, _share(stratum)) for stratum in strata if stratum.answers]
    known = sum(answers for answers, part in parts if part is not None)
    mean = sum(answers * part.value for answers, part in parts if part is not None) / known
    low = high = 0.0
    for answers, part in parts:
        part = part or Share(mean, 0.0, 1.0, 0)
        low += (answers / total * (part.value - part.low)) ** 2
        high += (answers / total * (part.high - part.value)) ** 2
    return Share(mean, max(0.0, mean - math.sqrt(low)), min(1.0, mean + math.sqrt(high)), compared)


def _share(stratum: Stratum) -> Share | None:
    """Within one stratum; None where nothing was reviewed."""
    reviewed = [group for group in stratum.groups if group.compared]
    if not reviewed:
        return None
    # How many answers the reviewed ones of a group stand for together; each for the same number.
    stand_for = [group.queued / group.sampling_ratio for group in reviewed]
    total = sum(stand_for)
    value = sum(many * group.agreed / group.compared for many, group in zip(stand_for, reviewed, strict=True)) / total
    effective = total**2 / sum(many**2 / group.compared for many, group in zip(stand_for, reviewed, strict=True))
    left = 1 - min(1.0, stratum.compared / stratum.answers)
    if left == 0:
        return Share(value, value, value, stratum.compared)  # everything was looked at: nothing is estimated
    return score_interval(value, effective / left)


def _check(stratum: Stratum) -> None:
    for group in stratum.groups:
        if not 0 < group.sampling_ratio <= 1:
            raise ValueError(f"a sampling ratio lies above 0 and up to 1, not at {group.sampling_ratio}")
        if not 0 <= group.agreed <= group.compared <= group.queued:
            raise ValueError(f"{group} counts more than there are")
    if sum(group.queued for group in stratum.groups) > stratum.answers:
        raise ValueError(f"more answers are queued than the {stratum.answers} of the stratum")
