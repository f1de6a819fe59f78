"""Evidence that may be looked at as often as one likes: shares of yes among independent answers.

Every function gives the logarithm of an e-value: where the null hypothesis is true, the chance
that it *ever* reaches ln(1/α), over all looks for ever, is at most α (Ville's inequality). No
number of looks is planned, and nothing is corrected for having looked.

Against one value p of a share the e-value is the likelihood of what was seen under a Beta(½, ½)
mixture of shares, over its likelihood under p (Robbins 1970; for counts: Lindon & Malek, "Anytime-valid
inference for multinomial count data", NeurIPS 2022). Against many values at once it is the
smallest over them; for two independent streams the product is one, and for two streams of any
dependence the mean is (Ramdas, Grünwald, Vovk & Shafer, "Game-theoretic statistics and safe
anytime-valid inference", Statistical Science 2023, sections 3 and 4). Exact for every size; no
normal approximation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_A: Final = 0.5  # Jeffreys' mixture: it is quick where shares are near 0 or 1
_LOG_BETA_PRIOR: Final = 2 * math.lgamma(_A) - math.lgamma(2 * _A)
_EDGE: Final = 1e-12
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_STEPS: Final = 60  # golden-section steps: 0.618⁶⁰ is 3e-13 of the range


@dataclass(frozen=True, slots=True)
class Count:
    """How many of `n` answers were a yes."""

    yes: int
    n: int

    @property
    def share(self) -> float | None:
        return self.yes / self.n if self.n else None


def log_evidence(count: Count, p: float) -> float:
    """ln e-value against "the share is p", 0 ≤ p ≤ 1. Infinite where p cannot have given what was seen."""
    yes, no = count.yes, count.n - count.yes
    mixed = math.lgamma(_A + yes) + math.lgamma(_A + no) - math.lgamma(2 * _A + count.n) - _LOG_BETA_PRIOR
    if (yes and p <= 0) or (no and p >= 1):
        return math.inf
    return mixed - (yes * math.log(p) if yes else 0.0) - (no * math.log1p(-p) if no else 0.0)


def above(count: Count, limit: float) -> float:
    """ln e-value against "the share is at most this limit"."""
    share = count.share
    return log_evidence(count, limit if share is None or share > limit else share)


def higher(watched: Count, standard: Count, margin: float) -> float:
    """ln e-value against "the watched share is at most the standard's plus the margin", of independent streams.

    -1 < margin < 1; below 0 it says that the watched share is not even so much smaller.
    """
    return _against(watched, standard, margin, lambda one, other: one + other)


def higher_on_the_same(watched: Count, standard: Count, margin: float) -> float:
    """The same where both streams may depend on each other in any way: answers to the same photographs."""
    return _against(watched, standard, margin, _log_mean)


def different(watched: Count, standard: Count, margin: float) -> float:
    """ln e-value against "the two shares are at most the margin apart", of independent streams."""
    # No price for two sides: the null hypothesis is one set of pairs, and what was seen lies beyond one border of it.
    return max(higher(watched, standard, margin), higher(_other(watched), _other(standard), margin))


def different_on_the_same(watched: Count, standard: Count, margin: float) -> float:
    """The same for streams of any dependence."""
    return max(
        higher_on_the_same(watched, standard, margin),
        higher_on_the_same(_other(watched), _other(standard), margin),
    )


def interval(count: Count, alpha: float = 0.05) -> tuple[float, float]:
    """Shares that are not ruled out: covers the true one at every moment at once with probability 1 - alpha."""
    if not count.n:
        return 0.0, 1.0
    share, enough = count.yes / count.n, math.log(1 / alpha)
    return (
        _crossing(count, enough, outside=0.0, inside=share),
        _crossing(count, enough, outside=1.0, inside=share),
    )


def _against(watched: Count, standard: Count, margin: float, together: Callable[[float, float], float]) -> float:
    """The smallest evidence over every pair of shares that the null hypothesis allows."""
    if not watched.n or not standard.n:
        return -math.inf
    share, usual = watched.yes / watched.n, standard.yes / standard.n
    if share <= usual + margin:  # what was seen is itself within the null hypothesis
        return together(log_evidence(watched, share), log_evidence(standard, usual))

    # Both terms are convex and each pulls towards what it saw, so the smallest lies on the border, in between.
    def on_border(p: float) -> float:
        return together(log_evidence(watched, p + margin), log_evidence(standard, p))

    least, most = max(_EDGE, _EDGE - margin), min(1 - _EDGE, 1 - _EDGE - margin)
    low, high = min(max(usual, least), most), min(max(share - margin, least), most)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = on_border(left), on_border(right)
    for _ in range(_STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = on_border(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = on_border(right)
    return min(at_left, at_right)


def _crossing(count: Count, enough: float, *, outside: float, inside: float) -> float:
    """Where the evidence reaches enough, between a share that is ruled out and one that is not."""
    if log_evidence(count, outside) < enough:
        return outside
    for _ in range(_STEPS):
        middle = (outside + inside) / 2
        if log_evidence(count, middle) >= enough:
            outside = middle
        else:
            inside = middle
    return outside


def _log_mean(one: float, other: float) -> float:
    high = max(one, other)
    if math.isinf(high):
        return high
    return high + math.log((math.exp(one - high) + math.exp(other - high)) / 2)


def _other(count: Count) -> Count:
    return Count(count.n - count.yes, count.n)
