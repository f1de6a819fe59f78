"""Evidence that holds at every look: values by hand, the border found by brute force, and the rate of false alarms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from console.rollout.guardrails import ENOUGH, LEVEL
from console.rollout.sequential import (
    Count,
    above,
    different,
    different_on_the_same,
    higher,
    higher_on_the_same,
    interval,
    log_evidence,
)

RUNS = 200
SEED = 20261126


def test_one_answer_by_hand() -> None:
    """One yes: the mixture gives it ½, so against a share of p the evidence is 0.5 / p."""
    assert log_evidence(Count(1, 1), 0.25) == pytest.approx(math.log(2))
    assert log_evidence(Count(0, 1), 0.25) == pytest.approx(math.log(0.5 / 0.75))
    # Two answers, one of each: Γ(1.5)² / Γ(3) / π = 1/8.
    assert log_evidence(Count(1, 2), 0.5) == pytest.approx(math.log(1 / 8 / 0.25))
    assert log_evidence(Count(0, 0), 0.3) == 0.0
    assert log_evidence(Count(1, 5), 0.0) == log_evidence(Count(4, 5), 1.0) == math.inf
    # What p = 0 or 1 can have given: 1/2 · 3/4 · 5/6 · 7/8 · 9/10 over 1.
    for count, p in ((Count(0, 5), 0.0), (Count(5, 5), 1.0)):
        assert log_evidence(count, p) == pytest.approx(math.log(63 / 256))


def test_evidence_against_a_share_averages_to_one_where_it_is_the_true_one() -> None:
    """The definition of an e-value, summed over every outcome of 12 answers."""
    n, p = 12, 0.3
    whole = sum(
        math.comb(n, yes) * p**yes * (1 - p) ** (n - yes) * math.exp(log_evidence(Count(yes, n), p))
        for yes in range(n + 1)
    )
    assert whole == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("watched", "standard"),
    [(Count(30, 100), Count(90, 900)), (Count(9, 10), Count(0, 50)), (Count(40, 40), Count(3, 9))],
)
@pytest.mark.parametrize("margin", [0.05, -0.08])
def test_the_smallest_evidence_is_that_of_a_fine_grid(watched: Count, standard: Count, margin: float) -> None:
    grid = np.linspace(max(1e-6, 1e-6 - margin), min(1 - 1e-9, 1 - margin - 1e-9), 20_001)
    pairs = [(log_evidence(watched, p + margin), log_evidence(standard, p)) for p in grid]
    assert higher(watched, standard, margin) == pytest.approx(min(a + b for a, b in pairs), abs=1e-3)
    means = min(np.logaddexp(a, b) - math.log(2) for a, b in pairs)
    assert higher_on_the_same(watched, standard, margin) == pytest.approx(means, abs=1e-3)


def test_what_is_not_worse_is_no_evidence() -> None:
    assert higher(Count(5, 100), Count(50, 1000), 0.0) <= 0
    assert higher(Count(1, 100), Count(50, 1000), 0.0) <= 0
    # The smallest is then that of what was seen.
    seen = log_evidence(Count(1, 100), 0.01) + log_evidence(Count(50, 1000), 0.05)
    assert higher(Count(1, 100), Count(50, 1000), 0.0) == pytest.approx(seen)
    seen = log_evidence(Count(8, 100), 0.08) + log_evidence(Count(50, 1000), 0.05)
    assert higher(Count(8, 100), Count(50, 1000), 0.04) == pytest.approx(seen)
    assert higher(Count(0, 0), Count(50, 1000), 0.0) == -math.inf
    assert higher(Count(50, 100), Count(0, 0), 0.0) == -math.inf
    assert above(Count(1, 100), 0.15) == log_evidence(Count(1, 100), 0.01) <= 0
    assert above(Count(40, 100), 0.15) == log_evidence(Count(40, 100), 0.15) > ENOUGH
    assert above(Count(0, 0), 0.15) == 0.0
    # Fewer answers in domain are as different as more.
    assert different(Count(5, 100), Count(500, 1000), 0.05) == pytest.approx(
        different(Count(95, 100), Count(500, 1000), 0.05)
    )


def test_a_difference_is_found_on_either_side() -> None:
    standard = Count(500, 1000)
    for both, one in ((different, higher), (different_on_the_same, higher_on_the_same)):
        for watched in (Count(20, 100), Count(80, 100)):
            assert both(watched, standard, 0.05) == pytest.approx(one(Count(80, 100), standard, 0.05))
            assert both(watched, standard, 0.05) > ENOUGH
        assert both(Count(53, 100), standard, 0.05) < 0


def test_an_interval_ends_where_the_evidence_is_enough() -> None:
    for alpha in (0.05, 0.01):
        ends = interval(Count(5, 50), alpha)
        assert [log_evidence(Count(5, 50), end) for end in ends] == pytest.approx([math.log(1 / alpha)] * 2)
    assert interval(Count(5, 50)) == interval(Count(5, 50), 0.05)


def test_an_interval_holds_the_share_and_shrinks() -> None:
    few, many = interval(Count(5, 50)), interval(Count(500, 5000))
    assert few[0] < 0.1 < few[1]
    assert few[0] < many[0] < 0.1 < many[1] < few[1]
    assert interval(Count(0, 0)) == (0.0, 1.0)
    assert interval(Count(0, 100))[0] == 0.0
    assert interval(Count(100, 100))[1] == 1.0


def at_random_shares(generator: np.random.Generator, looks: int, a_look: int, shares: np.ndarray) -> np.ndarray:
    """Running counts of yes, with shares that may change from look to look."""
    return generator.binomial(a_look, shares, size=looks).cumsum()


def evidence(kind: str, one: Count, other: Count, margin: float) -> float:
    if kind == "two-sided":
        return different(one, other, 0.0)
    if kind == "on the same":
        return different_on_the_same(one, other, 0.0)
    return above(one, 0.07) if kind == "limit" else higher(one, other, margin)


@pytest.mark.parametrize(
    "kind", ["no worse", "at the margin", "by day and by night", "two-sided", "on the same", "limit"]
)
def test_a_version_that_is_no_worse_is_ended_at_most_as_often_as_promised(kind: str) -> None:
    """Looked at again and again while 12,000 answers come in. The promise is LEVEL, over all looks together."""
    generator = np.random.default_rng([SEED, len(kind)])
    looks, margin = 120, 0.02
    fired = 0
    for _run in range(RUNS):
        shares = np.full(looks, 0.05)
        if kind == "by day and by night":
            shares = 0.05 + 0.04 * np.sin(np.arange(looks) / 6)
        beyond = margin if kind in ("at the margin", "limit") else 0.0
        if kind == "on the same":
            # Half of the photographs are as hard for the one as for the other: far from independent.
            drawn, again = generator.random((looks, 100)), generator.random((looks, 100))
            mixed = np.where(generator.random((looks, 100)) < 0.5, drawn, again)
            watched, standard = ((each < 0.05).sum(axis=1).cumsum() for each in (drawn, mixed))
            sizes = (100, 100)
        else:
            watched = at_random_shares(generator, looks, 10, shares + beyond)
            standard = at_random_shares(generator, looks, 90, shares)
            sizes = (10, 90)
        for look in range(0, looks, 4):
            one = Count(int(watched[look]), sizes[0] * (look + 1))
            other = Count(int(standard[look]), sizes[1] * (look + 1))
            found = evidence(kind, one, other, margin if beyond else 0.0)
            if found >= ENOUGH:
                fired += 1
                break
    # Binomial(200, 0.01) exceeds 6 with probability 0.004.
    assert fired <= 6, f"{fired} of {RUNS} at a level of {LEVEL}"


def test_a_version_that_is_much_worse_is_found_soon() -> None:
    generator = np.random.default_rng(SEED)
    needed = []
    for _run in range(30):
        watched, standard = generator.binomial(1, 0.15, 2000).cumsum(), generator.binomial(9, 0.01, 2000).cumsum()
        needed.append(
            next(
                n
                for n in range(50, 2001, 10)
                if higher(Count(int(watched[n - 1]), n), Count(int(standard[n - 1]), 9 * n), 0.01) >= ENOUGH
            )
        )
    assert np.median(needed) <= 120
