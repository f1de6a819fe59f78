"""Comparing two distributions: pure functions on sketches and counts, with the sketches' own error taken into account.

A p-value here is never smaller than it would be on the data themselves: of the distance that is
seen, what the sketches may have made up is taken off first. So the rate of false alarms stays
at or below what is promised, at the price of small changes that go unseen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from model_store.reference import Sketch

POINTS_MAX: Final = 2048
BINS: Final = 10
EXPECTED_MIN: Final = 5.0  # in each cell of a chi-square test; rarer choices are pooled
_FLOOR: Final = 1e-4  # a share of nothing, where a logarithm needs something


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two distributions of one measure."""

    test: str  # "ks" or "chi2"
    statistic: float  # KS: the greatest distance between the two, 0 to 1; chi-square: its value
    effect: float  # what is left of the distance when the sketches' error is taken off; total variation of shares
    psi: float  # population stability index
    p: float
    n_reference: int
    n_window: int
    error: float  # how much of the distance the sketches may have made up


def compare_numbers(reference: Sketch, window: Sketch) -> Comparison:
    """Two-sample Kolmogorov-Smirnov on sketches. Raises ValueError when one is empty."""
    points = points_of(reference, window)
    first, second = reference.ranks(points), window.ranks(points)
    distance = max(abs(a - b) for a, b in zip(first, second, strict=True))
    error = reference.rank_error_ratio + window.rank_error_ratio
    effect = max(0.0, distance - error)
    size = reference.count * window.count / (reference.count + window.count)
    return Comparison(
        test="ks",
        statistic=distance,
        effect=effect,
        psi=_psi_of_numbers(reference, window),
        p=kolmogorov_sf(math.sqrt(size) * effect),
        n_reference=reference.count,
        n_window=window.count,
        error=error,
    )


def compare_choices(reference: Mapping[str, int], window: Mapping[str, int]) -> Comparison:
    """Chi-square test of homogeneity on counts. Raises ValueError when one is empty."""
    n_reference, n_window = sum(reference.values()), sum(window.values())
    if not n_reference or not n_window:
        raise ValueError("an empty distribution has no shares")
    keys = sorted({*reference, *window})
    shares = [(reference.get(key, 0) / n_reference, window.get(key, 0) / n_window) for key in keys]
    cells = _pooled([(reference.get(key, 0), window.get(key, 0)) for key in keys], n_reference, n_window)
    total = n_reference + n_window
    statistic = 0.0
    for first, second in cells:
        share = (first + second) / total
        for seen, size in ((first, n_reference), (second, n_window)):
            statistic += (seen - share * size) ** 2 / (share * size)
    return Comparison(
        test="chi2",
        statistic=statistic,
        effect=sum(abs(a - b) for a, b in shares) / 2,
        psi=_psi(shares),
        p=chi2_sf(statistic, len(cells) - 1),
        n_reference=n_reference,
        n_window=n_window,
        error=0.0,
    )


def false_discovery(p_values: Sequence[float]) -> list[float]:
    """Each p-value as the smallest rate of false discoveries at which it counts (Benjamini and Hochberg 1995)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__, reverse=True)
    adjusted, smallest = [1.0] * len(p_values), 1.0
    for place, index in enumerate(order):
        rank = len(p_values) - place
        smallest = min(smallest, p_values[index] * len(p_values) / rank)
        adjusted[index] = smallest
    return adjusted


def kolmogorov_sf(x: float) -> float:
    """P(K > x) of Kolmogorov's distribution: the limit for large samples, which errs on the safe side for small."""
    if x < 0.2:
        return 1.0  # to fifteen digits
    if x < 1.0:  # the series of the other side converges where this one does not
        terms = sum(math.exp(-((2 * k - 1) ** 2) * math.pi**2 / (8 * x * x)) for k in range(1, 8))
        return min(1.0, max(0.0, 1.0 - math.sqrt(2 * math.pi) / x * terms))
    return min(1.0, 2 * sum((1 if k % 2 else -1) * math.exp(-2 * k * k * x * x) for k in range(1, 8)))


def chi2_sf(x: float, degrees: int) -> float:
    """P(X > x) of the chi-square distribution; 1 without degrees of freedom. Numerical Recipes, section 6.2."""
    a, half = degrees / 2, x / 2
    if degrees < 1 or half <= 0:
        return 1.0
    front = math.exp(-half + a * math.log(half) - math.lgamma(a))
    if half < a + 1:
        term = total = 1 / a
        step = a
        while abs(term) > abs(total) * 1e-15:
            step += 1
            term *= half / step
            total += term
        return max(0.0, 1.0 - total * front)
    tiny = 1e-300
    b = half + 1 - a
    c, d = 1 / tiny, 1 / b
    fraction = d
    for index in range(1, 10_000):
        an = -index * (index - a)
        b += 2
        d = 1 / (an * d + b or tiny)
        c = b + an / c or tiny
        change = d * c
        fraction *= change
        if abs(change - 1) < 1e-15:
            break
    return min(1.0, front * fraction)


def points_of(one: Sketch, other: Sketch) -> list[float]:
    """Values at which two distributions are worth comparing, in order: all of small ones, quantiles of large ones."""
    return sorted({*_points(one), *_points(other)})


def _points(sketch: Sketch) -> tuple[float, ...]:
    count = min(sketch.count, POINTS_MAX)
    return (sketch.range[0], *sketch.quantiles([(place + 1) / count for place in range(count)]))


def _psi_of_numbers(reference: Sketch, window: Sketch) -> float:
    edges = sorted(set(reference.quantiles([place / BINS for place in range(1, BINS)])))
    ranks = [(0.0, *sketch.ranks(edges), 1.0) for sketch in (reference, window)]
    first, second = ([high - low for low, high in pairwise(rank)] for rank in ranks)
    return _psi(list(zip(first, second, strict=True)))


def _psi(shares: Sequence[tuple[float, float]]) -> float:
    floored = [(max(a, _FLOOR), max(b, _FLOOR)) for a, b in shares]
    return sum((b - a) * math.log(b / a) for a, b in floored)


def _pooled(cells: Sequence[tuple[int, int]], n_reference: int, n_window: int) -> list[tuple[int, int]]:
    """The cells of the test: those too rare for it together in one, or with the next rarest."""
    total, smaller = n_reference + n_window, min(n_reference, n_window)
    ordered = sorted(cells, key=sum)
    kept: list[tuple[int, int]] = []
    rare = (0, 0)
    for first, second in ordered:
        if (first + second) * smaller / total < EXPECTED_MIN or 0 < sum(rare) * smaller / total < EXPECTED_MIN:
            rare = (rare[0] + first, rare[1] + second)
        else:
            kept.append((first, second))
    return [*kept, rare] if sum(rare) else kept
