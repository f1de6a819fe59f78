"""What did not change is no alarm more often than promised, from 200 answers to a million; the data are the oracle.

make false-alarms        DRIFT_ROUNDS=200 of a million; the figures are kept in tests/fault/results
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from console.drift.services import LEVEL, SKETCH_K, compare
from console.drift.statistics import compare_numbers, kolmogorov_sf
from model_store.reference import Reference, Sketch
from tests.fault.results import keep

SEED = 20261128
COARSE_K = 32
ROUNDS = int(os.environ.get("DRIFT_ROUNDS", "3"))
SHARES = {"predicted_class": [0.4, 0.25, 0.2, 0.1, 0.04, 0.01], "verdict": [0.9, 0.07, 0.03]}


@dataclass
class Counted:
    """What came out of comparing two weeks that are alike, so many times."""

    answers: int  # of each week
    rounds: int
    measures: int = 0
    alarms: int = 0  # rounds in which anything is called changed, after the correction for looking at many
    single: int = 0  # measures below the level, uncorrected
    exact: int = 0  # numbers below the level on the data themselves
    believed: int = 0  # numbers below the level if sketches were taken for the data
    error_ratio_max: float = 0.0  # how much of the stated error of a sketch was used at most


def numbers(random: np.random.Generator, n: int) -> dict[str, NDArray[np.float64]]:
    return {
        "confidence": random.beta(8, 2, n),
        "score_mahalanobis": random.gamma(9, 3, n),
        "brightness_ratio": random.normal(0.5, 0.1, n),
        "sharpness_var": random.lognormal(5, 0.5, n),
    }


def week(random: np.random.Generator, samples: dict[str, NDArray[np.float64]], n: int) -> Reference:
    chosen = {
        name: Counter({f"{name}_{index}": int(count) for index, count in enumerate(random.multinomial(n, shares))})
        for name, shares in SHARES.items()
    }
    return Reference({name: Sketch(values, k=SKETCH_K) for name, values in samples.items()}, chosen)


def counted(n: int, rounds: int) -> Counted:
    random, found = np.random.default_rng([SEED, n]), Counted(n, rounds)
    for _ in range(rounds):
        before, now = numbers(random, n), numbers(random, n)
        each = compare(week(random, before, n), week(random, now, n))
        found.measures += len(each)
        found.alarms += any(one.q <= LEVEL for one in each)
        found.single += sum(one.found.p <= LEVEL for one in each)
        for one in each:
            if one.found.test == "ks":
                exact = stats.ks_2samp(before[one.measure], now[one.measure], method="asymp")
                found.exact += int(exact.pvalue <= LEVEL)
                found.believed += kolmogorov_sf(math.sqrt(n / 2) * one.found.statistic) <= LEVEL
                used = abs(one.found.statistic - float(exact.statistic))
                found.error_ratio_max = max(found.error_ratio_max, used / one.found.error if one.found.error else used)
    return found


@pytest.mark.parametrize(("n", "rounds"), [(200, 60 * ROUNDS), (2_000, 15 * ROUNDS), (30_000, 3 * ROUNDS)])
def test_alike_is_called_changed_at_most_as_often_as_promised(n: int, rounds: int) -> None:
    within(counted(n, rounds))


def test_so_it_is_at_a_million() -> None:
    found = counted(1_000_000, ROUNDS)

    within(found)
    if ROUNDS >= 50:  # what a sketch makes up is luck: few rounds would not show it each time
        assert found.believed > stats.binom.ppf(0.9999, 4 * found.rounds, LEVEL)


def test_a_coarse_sketch_taken_for_the_data_would_cry_wolf_and_is_not() -> None:
    """The control: of a million answers, chance moves far less than a sketch of so few points makes up."""
    random = np.random.default_rng(SEED)
    before, now = (Sketch(random.normal(size=1_000_000), k=COARSE_K) for _ in range(2))

    found = compare_numbers(before, now)

    assert kolmogorov_sf(math.sqrt(1_000_000 / 2) * found.statistic) < 1e-6
    assert found.p > LEVEL


def within(found: Counted) -> None:
    keep(f"drift-false-alarms-{found.answers}", {"seed": SEED, "level": LEVEL, **asdict(found)})
    # What a nominal rate gives at most, all but once in ten thousand such tests.
    assert found.alarms <= stats.binom.ppf(0.9999, found.rounds, LEVEL)
    assert found.single <= stats.binom.ppf(0.9999, found.measures, LEVEL)
    assert found.error_ratio_max <= 1.0
