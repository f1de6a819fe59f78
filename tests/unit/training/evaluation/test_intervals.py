"""Intervals: what they promise, measured, and what they refuse to invent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from training.evaluation.intervals import Interval, bootstrap, bootstrap_all

ONE_STRATUM = np.zeros(60, np.int64)


def test_the_interval_of_a_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 60)
    found = bootstrap(lambda rows: float(values[rows].mean()), [ONE_STRATUM], seed=0, resamples=4000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.06)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(100):
        values = np.random.default_rng(seed).normal(0.0, 1.0, 60)
        found = bootstrap(lambda rows, v=values: float(v[rows].mean()), [ONE_STRATUM], seed=seed, resamples=300)
        covered += found.low <= 0.0 <= found.high
    assert 85 <= covered <= 100


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(2).normal(0.0, 1.0, 60)

    def measured(seed: int) -> Interval:
        return bootstrap(lambda rows: float(values[rows].mean()), [ONE_STRATUM], seed=seed)

    assert measured(3) == measured(3)
    assert measured(3) != measured(4)


def test_each_stratum_keeps_its_number_of_photographs() -> None:
    strata = np.array([0] * 50 + [1] * 3)
    seen = set()

    def count(rows: np.ndarray) -> float:
        seen.add(int((strata[rows] == 1).sum()))
        return 0.0

    bootstrap(count, [strata], seed=0, resamples=50)
    assert seen == {3}


def test_the_value_lies_in_its_interval_even_at_the_end_of_the_range() -> None:
    right = np.ones(20)
    found = bootstrap(lambda rows: float(right[rows].mean()), [np.zeros(20, np.int64)], seed=0)
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
    assert not Interval(0.0, -0.1, 0.2).sure
    assert Interval(0.1, 0.05, 0.2).sure
    assert Interval(-0.1, -0.2, -0.05).sure


def test_several_figures_share_their_resamples() -> None:
    values = np.random.default_rng(4).normal(0.0, 1.0, 60)
    both = bootstrap_all(
        lambda rows: np.array([values[rows].mean(), -values[rows].mean()]), [ONE_STRATUM], seed=5, resamples=200
    )
    assert both[0].low == pytest.approx(-both[1].high)
    assert both[0] == bootstrap(lambda rows: float(values[rows].mean()), [ONE_STRATUM], seed=5, resamples=200)


def test_a_figure_that_some_resamples_cannot_tell_is_measured_on_the_others() -> None:
    rare = np.array([1.0] + [np.nan] * 5)

    def mean_of_the_rare(rows: np.ndarray) -> np.ndarray:
        told = rare[rows][~np.isnan(rare[rows])]
        return np.array([told.mean() if len(told) else np.nan, np.nan])

    first, second = bootstrap_all(mean_of_the_rare, [np.zeros(6, np.int64)], seed=0, resamples=100)
    assert (first.low, first.high) == (1.0, 1.0)
    assert np.isnan(second.value)
    assert np.isnan(second.low)
