"""Pairs of classes that photographs of one side do not tell apart, found from cross-validated answers.

Two tests on every pair and side, at the usual 5 % and with the usual power of 80 %, so that nothing is tuned to
the data at hand.

*Separable*: the evidence for one against the other, log p_a - log p_b, is higher on photographs of a than on
those of b, by the one-sided Mann-Whitney test. Where it is not, although there are photographs enough that an
AUROC of 0.9 would have shown (the normal approximation under the null), the side does not tell the two apart.
*Confused*: of the mistakes on the two classes' photographs, more fall on each other than if a mistake were as
likely to fall on any class: a binomial test, corrected for all pairs and sides (Holm 1979).

Copies of a photograph and views of one object are one observation in both, by the mean of what is said of them
(decision 0172). A pair is named where it is not separable or is confused. Another side decides where it is separable
there and not confused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, mannwhitneyu, norm

from training.evaluation.several import holm
from training.statistics.metrics import confusion_matrix

ALPHA: Final = 0.05
POWER: Final = 0.8
WORTH_FINDING: Final = 0.9  # AUROC: evidence that a person would rely on
ANY_SIDE: Final = "unknown"  # of photographs whose side nobody named
# 300 classes that nothing tells apart are 44,850 pairs, of which a card takes 10,000 and a reader far fewer.
PAIRS_MAX: Final = 1000
_PROBABILITY_MIN: Final = 1e-12
Evidence = NDArray[np.float64]
_Key = tuple[int, int, str]  # two classes, a side


@dataclass(frozen=True, slots=True)
class LookAlikes:
    """Two classes that are taken for each other from one side."""

    classes: tuple[str, str]
    side: str  # "front", ..., or ANY_SIDE
    photos: int  # of the two classes and that side
    confused: int  # of them, those called the other
    p_value: float  # that so many confusions are luck, after correction
    separation: float  # how often evidence puts a photograph of each on the right side: AUROC; 0.5 is a guess
    separable: bool  # whether that is more than a guess
    decided_by: tuple[str, ...]  # sides that tell the two apart

    @property
    def said(self) -> str:
        first, second = self.classes
        where = "" if self.side == ANY_SIDE else f" from the {self.side}"
        apart = (
            f"evidence tells them apart in {self.separation:.0%} of pairs"
            if self.separable
            else f"nothing tells them apart (AUROC {self.separation:.2f}, which may be a guess)"
        )
        decide = f"; photograph the {' or '.join(self.decided_by)} to decide" if self.decided_by else ""
        return (
            f"{first} and {second} look alike{where}: {self.confused} of {self.photos} photographs are called the "
            f"other, and {apart}{decide}."
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """One pair from one side."""

    photos: int
    confused: int
    p_value: float
    separation: float
    separable: bool
    enough: bool  # photographs, that a separation worth finding would have been found


def look_alikes(
    classes: Sequence[str],
    labels: NDArray[np.intp],
    probabilities: NDArray[np.floating],
    sides: Sequence[str],
    groups: NDArray[np.integer] | None = None,
) -> tuple[LookAlikes, ...]:
    """The pairs that a side does not tell apart, those with most confusions first; at most PAIRS_MAX.

    labels [n], probabilities [n, classes] by versions that did not see the photographs, sides [n].  groups [n]: of
    each photograph; None: each is its own.
    With two classes every mistake falls on the other one: then there is nothing to compare with, and no pair is named.
    """
    if len(classes) < 3:
        return ()
    named = np.array(sides)
    own = np.arange(len(labels)) if groups is None else groups
    of_side = {str(side): _Here.of(labels, probabilities, own, named == side) for side in np.unique(named)}
    seen = {
        (*pair, side): found for side, here in of_side.items() for pair, found in _seen_from(here, len(classes)).items()
    }
    sides_of: dict[tuple[int, int], list[str]] = {}
    for first, second, side in seen:
        sides_of.setdefault((first, second), []).append(side)
    corrected = holm({key: found.p_value for key, found in seen.items()})
    confused = {key for key, p_value in corrected.items() if p_value < ALPHA}
    pairs = [
        LookAlikes(
            classes=(classes[key[0]], classes[key[1]]),
            side=key[2],
            photos=found.photos,
            confused=found.confused,
            p_value=corrected[key],
            separation=found.separation,
            separable=found.separable,
            decided_by=tuple(
                other
                for other in sides_of[key[:2]]
                if other != ANY_SIDE and (*key[:2], other) not in confused and seen[*key[:2], other].separable
            ),
        )
        for key, found in seen.items()
        if key in confused or (found.enough and not found.separable)
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.confused, pair.classes))[:PAIRS_MAX])


@dataclass(frozen=True, slots=True)
class _Here:
    """The photographs of one side, and what is said of those of one group and label together."""

    labels: NDArray[np.intp]  # of photographs
    predicted: NDArray[np.intp]
    group_labels: NDArray[np.intp]  # of groups
    logarithms: NDArray[np.float64]  # [groups, classes]: means of log p

    @classmethod
    def of(
        cls,
        labels: NDArray[np.intp],
        probabilities: NDArray[np.floating],
        groups: NDArray[np.integer],
        here: NDArray[np.bool_],
    ) -> _Here:
        rows, truth = probabilities[here], labels[here]
        logarithms = np.log(np.maximum(np.asarray(rows, np.float64), _PROBABILITY_MIN))
        together = np.stack([groups[here], truth], axis=1)
        kinds, number, sizes = np.unique(together, axis=0, return_inverse=True, return_counts=True)
        means = np.zeros((len(kinds), rows.shape[1]))
        np.add.at(means, number, logarithms)
        return cls(truth, rows.argmax(axis=1), kinds[:, 1], means / sizes[:, None])


def _seen_from(here: _Here, classes: int) -> dict[tuple[int, int], _Seen]:
    """Of every pair that both have a photograph of this side; 300 classes are 44,850 of them."""
    rows = [np.flatnonzero(here.group_labels == label) for label in range(classes)]
    pairs = [pair for pair in combinations(range(classes), 2) if len(rows[pair[0]]) and len(rows[pair[1]])]
    called = confusion_matrix(here.group_labels, here.logarithms.argmax(axis=1), classes=classes)
    wrong = called.sum(axis=1) - called.diagonal()
    photos_called = confusion_matrix(here.labels, here.predicted, classes=classes)
    photos = photos_called.sum(axis=1)
    tests = _tests(here.logarithms, rows, pairs)
    found = {}
    for first, second in pairs:
        confused = int(called[first, second] + called[second, first])
        mistakes = int(wrong[first] + wrong[second])
        statistic, p_value = tests[first, second]
        count, other_count = len(rows[first]), len(rows[second])
        found[first, second] = _Seen(
            photos=int(photos[first] + photos[second]),
            confused=int(photos_called[first, second] + photos_called[second, first]),
            p_value=_by_luck(confused, mistakes, 1.0 / (classes - 1)),
            separation=statistic / count / other_count,
            separable=p_value < ALPHA,
            enough=_enough(count, other_count),
        )
    return found


def _by_luck(confused: int, mistakes: int, chance: float) -> float:
    return float(binomtest(confused, mistakes, chance, alternative="greater").pvalue) if confused else 1.0


def _tests(
    logarithms: NDArray[np.float64], rows: Sequence[NDArray[np.intp]], pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[float, float]]:
    """Statistic and p-value of the Mann-Whitney test of each pair's evidence; one by one they take minutes."""
    together: dict[tuple[int, int, bool], dict[tuple[int, int], tuple[Evidence, Evidence]]] = {}
    for first, second in pairs:
        own, other = (logarithms[rows[label], first] - logarithms[rows[label], second] for label in (first, second))
        # Whether values are equal decides between the exact test and the approximate one, for all of a batch alike.
        tied = len({*own.tolist(), *other.tolist()}) < len(own) + len(other)
        together.setdefault((len(own), len(other), tied), {})[first, second] = own, other
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for batch in together.values():
        own, other = (np.stack(evidence) for evidence in zip(*batch.values(), strict=True))
        test = mannwhitneyu(own, other, alternative="greater", axis=1)
        found |= dict(zip(batch, zip(test.statistic.tolist(), test.pvalue.tolist(), strict=True), strict=True))
    return found


@cache
def _enough(first: int, second: int) -> bool:
    """Whether so many photographs of each would show an AUROC of WORTH_FINDING with a chance of POWER."""
    spread = np.sqrt((first + second + 1) / (12 * first * second))  # of the AUROC where there is no difference
    return bool((norm.ppf(1 - ALPHA) + norm.ppf(POWER)) * spread <= WORTH_FINDING - 0.5)
