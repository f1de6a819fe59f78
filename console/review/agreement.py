"""How far experts agree: with the model before and after they heard it, and with each other. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Z: Final = 1.959963984540054  # of the normal distribution, for 95 %
CASES_MIN: Final = 20  # of fewer, a kappa says nothing


@dataclass(frozen=True, slots=True)
class Share:
    """A proportion with its 95 % interval, all 0 to 1."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Sway:
    """Agreement with the model, blind and seen, and what seeing it adds: -1 to 1, with a 95 % interval."""

    blind: Share
    seen: Share
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Concord:
    """A kappa: 1 is perfect agreement, 0 that of chance. None where it is not defined."""

    cases: int
    agreed: int  # cases in which all said the same
    kappa: float | None
    low: float | None
    high: float | None

    @property
    def too_few(self) -> bool:
        """Whether so few cases say nothing: of a single one any kappa is -1, or not defined."""
        return self.cases < CASES_MIN


def wilson(successes: int, n: int) -> Share:
    """Wilson's score interval (Wilson 1927); 0 to 1 without observations."""
    if not n:
        return Share(0.0, 0.0, 1.0, 0)
    return score_interval(successes / n, n)


def score_interval(p: float, n: float) -> Share:
    """Wilson's interval of a proportion p of n observations; n is above 0, and need not be whole."""
    spread = Z * Z / n
    centre = (p + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(p * (1 - p) / n + spread / (4 * n))
    return Share(p, max(0.0, centre - half), min(1.0, centre + half), round(n))


def sway(*, blind_agreed: int, blind_n: int, seen_agreed: int, seen_n: int) -> Sway:
    """What hearing the model adds to agreement with it: two independent proportions (Newcombe 1998, method 10)."""
    first, second = wilson(blind_agreed, blind_n), wilson(seen_agreed, seen_n)
    difference = second.value - first.value
    return Sway(
        blind=first,
        seen=second,
        difference=difference,
        low=difference - math.hypot(second.value - second.low, first.high - first.value),
        high=difference + math.hypot(second.high - second.value, first.value - first.low),
    )


def concord(cases: Sequence[Sequence[str]]) -> Concord:
    """Agreement of several raters who are not the same for every case (Fleiss 1971, eqs 3 to 7).

    cases: what was said of each, two or more each. For two raters it is Scott's pi, which Cohen's kappa
    becomes when both raters have the same habits: reviewers come from a pool, first and second are no persons.
    The interval is a jackknife over cases.
    """
    if any(len(case) < 2 for case in cases):
        raise ValueError("agreement needs two opinions of every case")
    agreed = sum(len(set(case)) == 1 for case in cases)
    counts = [Counter(case) for case in cases]
    pairs = [sum(c * (c - 1) for c in count.values()) / (n * (n - 1)) for count in counts if (n := count.total())]
    total: Counter[str] = sum(counts, Counter())
    kappa = _kappa(sum(pairs), len(cases), total)
    if kappa is None or len(cases) < 2:
        return Concord(len(cases), agreed, kappa, None, None)
    without = [
        _kappa(sum(pairs) - pair, len(cases) - 1, total - count) for pair, count in zip(pairs, counts, strict=True)
    ]
    return Concord(len(cases), agreed, kappa, *_jackknife(kappa, without))


def cohen(cases: Sequence[tuple[str, str]]) -> Concord:
    """Agreement of two certain raters, whose habits may differ (Cohen 1960, A coefficient of agreement for nominal
    scales, Educational and Psychological Measurement 20, 37-46, eq. 1).

    cases: what the first said of each, and the second. The interval is a jackknife over cases.
    """
    if not cases:
        return Concord(0, 0, None, None, None)
    agreed = sum(first == second for first, second in cases)
    firsts, seconds = Counter(first for first, _ in cases), Counter(second for _, second in cases)
    together = sum(count * seconds[said] for said, count in firsts.items())
    kappa = _cohen(agreed, len(cases), together)
    if kappa is None or len(cases) < 2:
        return Concord(len(cases), agreed, kappa, None, None)
    without = [
        # Without a case each rater has said that word once less.
        _cohen(agreed - (a == b), len(cases) - 1, together - seconds[a] - firsts[b] + (a == b))
        for a, b in cases
    ]
    return Concord(len(cases), agreed, kappa, *_jackknife(kappa, without))


def _cohen(agreed: int, cases: int, together: int) -> float | None:
    """together: over all words, how often the first rater said it times how often the second did."""
    chance = together / cases**2
    return None if chance >= 1 - 1e-12 else (agreed / cases - chance) / (1 - chance)


def _jackknife(kappa: float, without: Sequence[float | None]) -> tuple[float | None, float | None]:
    """A 95 % interval from the values that leave out one case each; None where one of them is not defined."""
    known = [value for value in without if value is not None]
    if len(known) < len(without):  # one case alone makes the difference between habits: no spread can be told
        return None, None
    mean = sum(known) / len(known)
    error = math.sqrt((len(known) - 1) / len(known) * sum((value - mean) ** 2 for value in known))
    return max(-1.0, kappa - Z * error), min(1.0, kappa + Z * error)


def _kappa(observed: float, cases: int, said: Counter[str]) -> float | None:
    """From the sum of agreeing pairs' shares and how often each thing was said; None when chance explains all."""
    n = said.total()
    if not cases or not n:
        return None
    chance = sum((count / n) ** 2 for count in said.values())
    return None if chance >= 1 - 1e-12 else (observed / cases - chance) / (1 - chance)
