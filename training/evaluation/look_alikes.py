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
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, mannwhitneyu, norm

from training.evaluation.several import holm

ALPHA: Final = 0.05
POWER: Final = 0.8
WORTH_FINDING: Final = 0.9  # AUROC: evidence that a person would rely on
ANY_SIDE: Final = "unknown"  # of photographs whose side nobody named
_PROBABILITY_MIN: Final = 1e-12
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
    """The pairs that a side does not tell apart, those with most confusions first.

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
        (first, second, side): found
        for first, second in combinations(range(len(classes)), 2)
        for side, here in of_side.items()
        if (found := _seen(first, second, here)) is not None
    }
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
                for one, two, other in seen
                if (one, two) == key[:2]
                and other != ANY_SIDE
                and (one, two, other) not in confused
                and seen[one, two, other].separable
            ),
        )
        for key, found in seen.items()
        if key in confused or (found.enough and not found.separable)
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.confused, pair.classes)))


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


def _seen(first: int, second: int, here: _Here) -> _Seen | None:
    """None where one of the two has no photograph of this side."""
    own, other = here.group_labels == first, here.group_labels == second
    if not own.any() or not other.any():
        return None
    predicted = here.logarithms.argmax(axis=1)
    mistakes = int((predicted[own] != first).sum() + (predicted[other] != second).sum())
    confused = int((predicted[own] == second).sum() + (predicted[other] == first).sum())
    chance = 1.0 / (here.logarithms.shape[1] - 1)
    p_value = float(binomtest(confused, mistakes, chance, alternative="greater").pvalue) if mistakes else 1.0
    evidence = here.logarithms[:, first] - here.logarithms[:, second]
    test = mannwhitneyu(evidence[own], evidence[other], alternative="greater")
    photos, others = here.labels == first, here.labels == second
    return _Seen(
        photos=int(photos.sum() + others.sum()),
        confused=int((here.predicted[photos] == second).sum() + (here.predicted[others] == first).sum()),
        p_value=p_value,
        separation=float(test.statistic) / int(own.sum()) / int(other.sum()),
        separable=bool(test.pvalue < ALPHA),
        enough=_enough(int(own.sum()), int(other.sum())),
    )


def _enough(first: int, second: int) -> bool:
    """Whether so many photographs of each would show an AUROC of WORTH_FINDING with a chance of POWER."""
    spread = np.sqrt((first + second + 1) / (12 * first * second))  # of the AUROC where there is no difference
    return bool((norm.ppf(1 - ALPHA) + norm.ppf(POWER)) * spread <= WORTH_FINDING - 0.5)
