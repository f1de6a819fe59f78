"""How far a figure could be off by the luck of which photographs were measured on.

Most figures are resampled (Efron 1979), and their interval is that between percentiles. Three kinds are not for that: a
share of photographs has no spread left at 0 or 1, a class of few photographs shows hardly any, and a calibration error
is larger on every resample than in truth (decision 0179).

Copies of a photograph and views of one object are one observation and not several: where groups are given, they are
what is drawn and what is counted (decision 0172).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 1000
LEVEL: Final = 0.95
_Z: Final = 1.959963984540054  # of the normal distribution, at LEVEL
_FEW: Final = 10  # independent photographs of a class: percentiles of fewer hold the truth in 0 to 89 % (decision 0179)

Index = NDArray[np.intp]
Groups = Sequence[NDArray[np.integer] | None] | None  # for each set of photographs, the group of each


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its interval, 95 %."""

    value: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out: of a difference, whether it is more than luck."""
        return self.low > 0.0 or self.high < 0.0

    def pair(self) -> list[float]:
        return [self.low, self.high]


def bootstrap(
    measure: Callable[..., float],
    strata: Sequence[NDArray[np.integer]],
    *,
    seed: int,
    groups: Groups = None,
    resamples: int = RESAMPLES,
) -> Interval:
    """Measure once on all photographs, then on resamples of each set of them.

    measure: given one index array a set (rows of that set).  strata: for each set, the stratum of
    every photograph; resampling is within strata, so that each keeps its number (Davison and
    Hinkley 1997, section 3.2).  groups: for each set, the group of every photograph; None: each is its own.

    Groups are drawn with replacement and whole: what varies within one comes with it (Davison and Hinkley 1997,
    section 3.8; Field and Welsh 2007). One of several strata is drawn with those of its first photograph. Where each
    photograph is its own group, the resamples are those of photographs. Strata of a single group, which would be the
    same in every resample, are drawn as one (Cochran 1977, section 5A.12), and so may be missing from some.
    """
    return bootstrap_all(
        lambda *rows: np.array([measure(*rows)]), strata, seed=seed, groups=groups, resamples=resamples
    )[0]


def bootstrap_all(
    measure: Callable[..., NDArray[np.floating]],
    strata: Sequence[NDArray[np.integer]],
    *,
    seed: int,
    groups: Groups = None,
    resamples: int = RESAMPLES,
) -> tuple[Interval, ...]:
    """As `bootstrap`, for several figures [k] that are measured on the same resamples.

    A figure may be nan on a resample that it cannot be told of: the others make its interval.
    """
    rng = np.random.default_rng(seed)
    sets = [_strata(labels, own) for labels, own in zip(strata, groups or [None] * len(strata), strict=True)]
    value = np.asarray(measure(*(np.arange(len(labels)) for labels in strata)), np.float64)
    drawn = np.empty((resamples, len(value)))
    for number in range(resamples):
        drawn[number] = measure(*(np.concatenate([stratum.drawn(rng) for stratum in each]) for each in sets))
    return tuple(_interval(float(one), column) for one, column in zip(value, drawn.T, strict=True))


def share_of(hits: float, photos: int, *, groups: NDArray[np.integer] | None = None) -> Interval:
    """A share of photographs with its score interval (Wilson 1927): it has a width at 0 and at 1, too.

    hits: 0..photos, not whole where a photograph counts in part. nan of no photographs.  groups: of each of the
    photographs; the width is then that of as many as `effective` says (Korn and Graubard 1998).
    """
    if not photos:
        return Interval(math.nan, math.nan, math.nan)
    return _wilson(hits / photos, float(photos) if groups is None else effective(groups))


def _wilson(share: float, count: float) -> Interval:
    spread = _Z * _Z / count
    centre = (share + spread / 2.0) / (1.0 + spread)
    half = _Z / (1.0 + spread) * math.sqrt(max(share * (1.0 - share), 0.0) / count + spread / (4.0 * count))
    # By the last digit the ends of 0 and of 1 may miss them.
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def effective(groups: NDArray[np.integer], labels: NDArray[np.integer] | None = None) -> float:
    """How many independent photographs tell as much as these, 1..n.

    labels: of each; the number is then that of a mean over classes, in which a photograph of a small class weighs more.

    The weights of photographs, summed over each group: (sum w)^2 / sum w^2 (Kish 1965, sections 8.2 and 11.7), so the
    number of groups where all have the same size, and n where each has one. It is the design effect of groups whose
    photographs all share one fate, as copies do. An effect that is estimated from the answers would be nearer the
    truth for views that do not; but it is estimated from the mistakes, and where there are hardly any, or none, it
    says that groups do not matter. So the interval errs to the wide side.
    """
    _, number = np.unique(groups, return_inverse=True)
    of_each = np.ones(len(groups))
    if labels is not None:
        _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        of_each = 1.0 / sizes[place]
    weights = np.bincount(number, weights=of_each)
    return float(weights.sum() ** 2 / (weights**2).sum())


def with_room(found: Interval, photos: float, *, fewest: float | None = None) -> Interval:
    """The interval of a share, of a mean of shares or of an AUROC; no narrower than `share_of`'s where percentiles say
    too little: at 0 and at 1, and of few photographs.

    photos: how many independent ones the figure is a mean over, as `effective` says; of an AUROC those of the smaller
    set.  fewest: of those that are a mean of their own in it, as each class's are; without, all of them.
    At its ends every resample repeats the figure, and of three photographs that were all answered rightly none ever
    shows a mistake, but so many leave room for a truth beside it (Wilson 1927). No mean over as many values of 0..1
    varies by more than a share.
    """
    at_end = any(math.isclose(found.value, end, abs_tol=1e-9) for end in (0.0, 1.0))
    few = (photos if fewest is None else fewest) < _FEW
    if not (at_end or few) or math.isnan(found.value):
        return found
    alone = _wilson(found.value, photos)
    return Interval(found.value, min(found.low, alone.low), max(found.high, alone.high))


def of_class_mean(found: Interval, groups: NDArray[np.integer], labels: NDArray[np.integer]) -> Interval:
    """`with_room` of a balanced accuracy or macro F1.  groups and labels: of the photographs that it is of."""
    fewest = min(effective(groups[labels == label]) for label in np.unique(labels))
    return with_room(found, effective(groups, labels), fewest=fewest)


def of_difference(found: Interval, photos: float) -> Interval:
    """The interval of the difference of two shares or means of shares on the same photographs, of the percentiles'.

    photos: how many independent ones they are, as `effective` says.
    As if there were two photographs more, of which either side answers one alone rightly (Bonett and Price 2012). Where
    two models answer alike, or nearly, resamples show hardly a difference, and take it for shown that there is none.
    """
    more = photos + 2.0
    centre = photos * found.value / more
    unseen = _Z * math.sqrt(2.0 + 2.0 * photos * found.value**2 / more)
    below, above = (math.hypot(photos * (found.value - end), unseen) / more for end in (found.low, found.high))
    return Interval(
        found.value, max(-1.0, min(found.value, centre - below)), min(1.0, max(found.value, centre + above))
    )


def first_rows(groups: NDArray[np.integer]) -> Index:
    """For each row the first one of its group, [n]."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(first[number])


def reflected(found: Interval) -> Interval:
    """The basic bootstrap interval, of the percentiles' (Davison and Hinkley 1997, section 5.2).

    For a figure that lies further from the truth, the fewer photographs there are: a resample is to the photographs
    what these are to the truth, so it leans the same way once more, and percentiles are off by twice as much. The
    value stays in the interval, also where every resample lies on one side of it.
    """
    low, high = 2.0 * found.value - found.high, 2.0 * found.value - found.low
    return Interval(found.value, min(found.value, low), max(found.value, high))


def of_calibration_error(found: Interval, *, by_luck: float = 0.0) -> Interval:
    """The interval of a calibration error, of the percentiles'.

    by_luck: what a model that means what it says shows at most, 97.5 % of the time, on these photographs. Where as
    much was found or less, no test tells the model from such a one, and its error of 0 belongs to the interval
    (Neyman 1937: what a test does not reject). Simulated on 131 photographs the truth is held in 88 to 97 % of the
    draws, from an error of 0 to one of 0.2; by percentiles in 0 to 92 %.
    """
    basic = reflected(found)
    low = 0.0 if found.value <= by_luck else max(0.0, basic.low)
    return Interval(found.value, low, min(1.0, basic.high))


@dataclass(frozen=True, slots=True)
class _Stratum:
    """Groups that are drawn from one another's number."""

    rows: Index  # [n], group after group
    starts: Index  # [groups]: where each begins among the rows
    sizes: Index  # [groups]

    def drawn(self, rng: np.random.Generator) -> Index:
        """The rows of as many groups, drawn with replacement."""
        picked = rng.integers(0, len(self.sizes), len(self.sizes))
        sizes = self.sizes[picked]
        ends = np.cumsum(sizes)
        places = np.repeat(self.starts[picked] - ends + sizes, sizes) + np.arange(ends[-1])
        return np.asarray(self.rows[places])


def _strata(labels: NDArray[np.integer], groups: NDArray[np.integer] | None) -> list[_Stratum]:
    first = np.arange(len(labels)) if groups is None else first_rows(groups)
    found = []
    for strata in _joined(labels[np.unique(first)]):
        own = np.flatnonzero(np.isin(labels[first], strata))
        rows = own[np.argsort(first[own], kind="stable")]
        _, starts, sizes = np.unique(first[rows], return_index=True, return_counts=True)
        found.append(_Stratum(rows, starts, sizes))
    return found


def _joined(of_groups: NDArray[np.integer]) -> list[list[int]]:
    """Strata that are drawn as one.  of_groups: the stratum of each group."""
    strata, counts = np.unique(of_groups, return_counts=True)
    alone, several = strata[counts == 1].tolist(), strata[counts > 1].tolist()
    if len(alone) == 1 and several:
        alone.append(several.pop(int(np.argmin(counts[counts > 1]))))
    return [*([alone] if alone else []), *([stratum] for stratum in several)]


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    told = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(told):
        return Interval(value, value, value)
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(told, [tail, 1.0 - tail])
    # A figure at the end of its range can lie outside the percentiles of a skewed resampling.
    return Interval(value, float(min(low, value)), float(max(high, value)))
