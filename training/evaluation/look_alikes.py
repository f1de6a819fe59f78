"""Pairs of classes that photographs of one side do not tell apart, found from cross-validated answers.

Two tests on every pair and side, at the usual 5 % and with the usual power of 80 %, so that nothing is tuned to
the data at hand.

*Separable*: the evidence for one against the other, log p_a - log p_b, is higher on photographs of a than on
those of b, by the one-sided Mann-Whitney test. Where it is not, although there are photographs enough that an
AUROC of 0.9 would have shown (the normal approximation under the null), the side does not tell the two apart.
*Confused*: of the mistakes on the two classes' photographs, more fall on each other than if a mistake were as
likely to fall on any class: a binomial test, corrected for all pairs and sides (Holm 1979).

Copies of a photograph and views of one object are one observation (decision 0172): a group's evidence is the mean of
its photographs', and of its mistakes it has the share that they make.

A pair is named where it is not separable or is confused. Another side decides where it is separable there and
not confused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, mannwhitneyu, norm

ALPHA: Final = 0.05
POWER: Final = 0.8
WORTH_FINDING: Final = 0.9  # AUROC: evidence that a person would rely on
ANY_SIDE: Final = "unknown"  # of photographs whose side nobody named
_PROBABILITY_MIN: Final = 1e-12
_DIGITS: Final = 6  # of a sum of parts: three thirds are one
_Key = tuple[int, int, str]  # two classes, a side


@dataclass(frozen=True, slots=True)
class LookAlikes:
    """Two classes that are taken for each other from one side."""

    classes: tuple[str, str]
    side: str  # "front", ..., or ANY_SIDE
    photos: int  # of the two classes and that side, copies and views too
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
    enough: bool  # groups, that a separation worth finding would have been found


def look_alikes(
    classes: Sequence[str],
    labels: NDArray[np.intp],
    probabilities: NDArray[np.floating],
    sides: Sequence[str],
    groups: NDArray[np.integer],
) -> tuple[LookAlikes, ...]:
    """The pairs that a side does not tell apart, those with most confusions first.

    labels [n], probabilities [n, classes] by versions that did not see the photographs, sides [n], groups [n]. With two
    classes every mistake falls on the other one: then there is nothing to compare with, and no pair is named.
    """
    if len(classes) < 3:
        return ()
    named = np.array(sides)
    seen = {
        (first, second, str(side)): found
        for first, second in combinations(range(len(classes)), 2)
        for side in np.unique(named)
        if (found := _seen(first, second, labels, probabilities, groups, named == side)) is not None
    }
    corrected = _holm({key: found.p_value for key, found in seen.items()})
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


def _seen(
    first: int,
    second: int,
    labels: NDArray[np.intp],
    probabilities: NDArray[np.floating],
    groups: NDArray[np.integer],
    here: NDArray[np.bool_],
) -> _Seen | None:
    """None where one of the two has no photograph of this side."""
    own, other = here & (labels == first), here & (labels == second)
    if not own.any() or not other.any():
        return None
    predicted = probabilities.argmax(axis=1)
    missed = (own & (predicted != first)) | (other & (predicted != second))
    swapped = (own & (predicted == second)) | (other & (predicted == first))
    # A part of a mistake is rounded against the finding.
    mistakes = math.ceil(_of_groups(missed, groups, (own, other)))
    confusions = math.floor(_of_groups(swapped, groups, (own, other)))
    chance = 1.0 / (probabilities.shape[1] - 1)
    p_value = float(binomtest(confusions, mistakes, chance, alternative="greater").pvalue) if mistakes else 1.0
    logarithms = np.log(np.maximum(probabilities[:, [first, second]], _PROBABILITY_MIN))
    evidence = logarithms[:, 0] - logarithms[:, 1]
    of_own, of_other = (_by_group(evidence, groups, side) for side in (own, other))
    by_photo = mannwhitneyu(evidence[own], evidence[other], alternative="greater")
    by_group = mannwhitneyu(of_own, of_other, alternative="greater")
    return _Seen(
        photos=int(own.sum() + other.sum()),
        confused=int(swapped.sum()),
        p_value=p_value,
        separation=float(by_photo.statistic) / int(own.sum()) / int(other.sum()),
        separable=bool(by_group.pvalue < ALPHA),
        enough=_enough(len(of_own), len(of_other)),
    )


def _of_groups(chosen: NDArray[np.bool_], groups: NDArray[np.integer], sides: Iterable[NDArray[np.bool_]]) -> float:
    """How many groups were chosen, one of which some photographs were counting in part."""
    return round(sum(float(_by_group(chosen.astype(np.float64), groups, here).sum()) for here in sides), _DIGITS)


def _by_group(values: NDArray[np.float64], groups: NDArray[np.integer], here: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of each group's values there, [groups]."""
    _, number, sizes = np.unique(groups[here], return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(number, weights=values[here]) / sizes)


def _enough(first: int, second: int) -> bool:
    """Whether so many groups of each would show an AUROC of WORTH_FINDING with a chance of POWER."""
    spread = np.sqrt((first + second + 1) / (12 * first * second))  # of the AUROC where there is no difference
    return bool((norm.ppf(1 - ALPHA) + norm.ppf(POWER)) * spread <= WORTH_FINDING - 0.5)


def _holm(p_values: Mapping[_Key, float]) -> dict[_Key, float]:
    """Adjusted so that the chance of one false finding among all stays at the level (Holm 1979)."""
    adjusted: dict[_Key, float] = {}
    largest = 0.0
    for rank, (key, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p_value * (len(p_values) - rank)))
        adjusted[key] = largest
    return adjusted
