"""Against scipy as the oracle, and against chance: what is promised about false alarms is counted."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from console.drift import services
from console.drift.services import EFFECT_MIN, LEVEL, SKETCH_K, compare
from console.drift.statistics import (
    chi2_sf,
    compare_choices,
    compare_numbers,
    false_discovery,
    kolmogorov_sf,
)
from model_store.reference import Reference, Sketch

CLASSES = ["somdej", "sivali", "nangphaya", "phong_suphan", "khun_phaen", "rup_lo"]
SHARES = [0.4, 0.25, 0.2, 0.1, 0.04, 0.01]


@pytest.mark.parametrize("x", [0.05, 0.2, 0.5, 0.8, 0.999, 1.0, 1.36, 1.63, 3.0, 8.0])
def test_kolmogorovs_distribution_is_scipys(x: float) -> None:
    assert kolmogorov_sf(x) == pytest.approx(special.kolmogorov(x), abs=1e-12)


@given(st.floats(0, 500), st.integers(1, 60))
def test_the_chi_square_distribution_is_scipys(x: float, degrees: int) -> None:
    assert chi2_sf(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), abs=1e-10)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_correction_is_scipys(p_values: list[float]) -> None:
    assert false_discovery(p_values) == pytest.approx(list(stats.false_discovery_control(p_values)))


@pytest.mark.parametrize(("n", "m", "shift"), [(1000, 900, 0.0), (300, 200, 0.4), (40, 500, 1.0)])
def test_an_exact_sketch_gives_the_exact_distance(n: int, m: int, shift: float) -> None:
    random = np.random.default_rng(7)
    first, second = random.normal(size=n), random.normal(shift, size=m)
    found = compare_numbers(Sketch(first), Sketch(second, k=SKETCH_K))
    exact = stats.ks_2samp(first, second, method="asymp")
    assert found.error == 0
    assert found.statistic == pytest.approx(exact.statistic, abs=1e-12)
    assert found.p >= stats.ks_2samp(first, second, method="exact").pvalue * 0.9
    assert found.p == pytest.approx(special.kolmogorov((n * m / (n + m)) ** 0.5 * exact.statistic), abs=1e-12)
    turned = compare_numbers(Sketch(second, k=SKETCH_K), Sketch(first))
    assert (turned.statistic, turned.p) == (pytest.approx(found.statistic), pytest.approx(found.p))


def test_a_large_sketch_is_within_its_bound_of_the_exact_distance() -> None:
    random = np.random.default_rng(8)
    first, second = random.normal(size=200_000), random.normal(0.3, size=200_000)
    found = compare_numbers(Sketch(first, k=SKETCH_K), Sketch(second, k=SKETCH_K))
    exact = stats.ks_2samp(first, second, method="asymp").statistic
    assert abs(found.statistic - exact) <= found.error <= 0.007
    assert found.effect <= exact


def test_shares_give_scipys_chi_square_and_a_total_variation_by_hand() -> None:
    before, now = {"a": 60, "b": 40}, {"a": 30, "b": 60, "c": 10}
    found = compare_choices(before, now)
    assert found.effect == pytest.approx(0.3)  # (0.3 + 0.2 + 0.1) / 2
    expected = stats.chi2_contingency([[60, 40, 0], [30, 60, 10]], correction=False)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.error == 0.0


def test_the_stability_index_by_hand() -> None:
    found = compare_choices({"a": 50, "b": 50}, {"a": 80, "b": 20})
    assert found.psi == pytest.approx(0.3 * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5))
    equal = compare_numbers(Sketch(range(1000)), Sketch(range(1000)))
    assert (equal.psi, equal.statistic, equal.p) == (0, 0, 1)


def test_the_stability_index_of_numbers_is_that_of_tenths_of_the_reference() -> None:
    """Of 0 to 9 alike the tenths end at 1, 2, ... 9, those included; nothing in one counts as a ten-thousandth."""
    before, now = Sketch(list(range(10)) * 100), Sketch([0.0] * 100)
    expected = 0.8 * np.log(1 / 0.2) + 8 * (0.1 - 1e-4) * np.log(0.1 / 1e-4)
    assert compare_numbers(before, now).psi == pytest.approx(expected)


def test_rare_choices_are_pooled_and_a_single_one_says_nothing() -> None:
    assert compare_choices({"a": 500}, {"a": 300}).p == 1
    found = compare_choices({"a": 500, **{f"r{n}": 2 for n in range(9)}}, {"a": 500, "r1": 1})
    assert 0 < found.p < 1
    for before, now in (({}, {"a": 1}), ({"a": 1}, {"b": 0})):
        with pytest.raises(ValueError, match="empty"):
            compare_choices(before, now)


@pytest.mark.parametrize(
    ("before", "now", "cells"),
    [
        # Of the 50 now, c and d would have 3 and 2 where nothing changed, which are 5 together; b has 5 alone.
        ((760, 98, 55, 37), (40, 2, 5, 3), [[760, 98, 92], [40, 2, 8]]),
        # d has 2, too few alone: with b, the next rarest.
        ((815, 98, 0, 37), (45, 2, 0, 3), [[815, 135], [45, 5]]),
    ],
)
def test_choices_with_fewer_than_five_expected_on_the_smaller_side_are_pooled(
    before: tuple[int, ...], now: tuple[int, ...], cells: list[list[int]]
) -> None:
    one, other = ({key: n for key, n in zip("abcd", counts, strict=True) if n} for counts in (before, now))
    expected = stats.chi2_contingency(cells, correction=False)
    for found in (compare_choices(one, other), compare_choices(other, one)):
        assert (found.statistic, found.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


def a_week(random: np.random.Generator, n: int, *, shift: float = 0.0, shares: list[float] | None = None) -> Reference:
    """Measurements as ingest takes them: five numbers and two choices, all without drift unless told."""
    samples = {
        "confidence": random.beta(8, 2, n),
        "margin": random.beta(5, 2, n),
        "score_mahalanobis": random.gamma(9, 3, n) + shift * 9,
        "brightness_ratio": random.normal(0.5 + shift * 0.1, 0.1, n),
        "sharpness_var": random.lognormal(5, 0.5, n),
    }
    chosen = random.choice(CLASSES, n, p=shares or SHARES)
    verdicts = random.choice(["IN_DOMAIN", "UNSURE", "OUT_OF_DISTRIBUTION"], n, p=[0.9, 0.07, 0.03])
    return Reference(
        {name: Sketch(values, k=SKETCH_K) for name, values in samples.items()},
        {"predicted_class": Counter(map(str, chosen)), "verdict": Counter(map(str, verdicts))},
    )


@pytest.mark.parametrize(("n", "rounds"), [(200, 300), (2_000, 60), (30_000, 8)])
def test_without_drift_false_alarms_stay_at_or_below_what_is_promised(n: int, rounds: int) -> None:
    random = np.random.default_rng(20261125 + n)
    corrected = uncorrected = measures = alerts = 0
    for _ in range(rounds):
        found = compare(a_week(random, n), a_week(random, n))
        assert all(each.q < 1.0 or each.found.p > 0 for each in found)
        corrected += any(each.q <= LEVEL for each in found)
        uncorrected += sum(each.found.p <= LEVEL for each in found)
        measures += len(found)
        alerts += any(each.outcome == "drift" for each in found)
    # What a nominal rate would give at most, all but once in ten thousand such tests.
    assert corrected <= stats.binom.ppf(0.9999, rounds, LEVEL)
    assert uncorrected <= stats.binom.ppf(0.9999, measures, LEVEL)
    assert alerts <= corrected


def test_a_million_without_drift_raise_no_alarm_and_a_small_change_is_no_alert() -> None:
    random = np.random.default_rng(5)
    values = random.normal(size=2_000_000)
    first, second = Sketch(values[:1_000_000], k=SKETCH_K), Sketch(values[1_000_000:], k=SKETCH_K)
    assert compare_numbers(first, second).p > LEVEL
    moved = Reference({"confidence": Sketch(values[1_000_000:] + 0.1, k=SKETCH_K)}, {})
    (found,) = compare(Reference({"confidence": first}, {}), moved)
    assert found.q < 1e-6
    assert found.found.effect < EFFECT_MIN
    assert found.outcome == "none"


def test_a_planted_change_is_found_from_two_hundred_on_and_named() -> None:
    random = np.random.default_rng(11)
    found = {each.measure: each for each in compare(a_week(random, 400), a_week(random, 200, shift=0.8))}
    assert {name for name, each in found.items() if each.outcome == "drift"} == {
        "score_mahalanobis",
        "brightness_ratio",
    }
    turned = [0.1, 0.1, 0.2, 0.1, 0.25, 0.25]
    found = {each.measure: each for each in compare(a_week(random, 400), a_week(random, 200, shares=turned))}
    assert {name for name, each in found.items() if each.outcome == "drift"} == {"predicted_class"}


def test_too_few_are_too_few_however_far_they_lie() -> None:
    random = np.random.default_rng(12)
    found = compare(a_week(random, 400), a_week(random, 199, shift=5))
    assert {each.outcome for each in found} == {"too_few"}
    found = compare(a_week(random, 29), a_week(random, 400, shift=5))
    assert {each.outcome for each in found} == {"too_few"}
    found = compare(a_week(random, 30), a_week(random, 200, shift=5))
    assert {each.outcome for each in found} == {"drift", "none"}


def test_an_alert_begins_at_a_rate_of_five_in_a_hundred_and_at_a_tenth_of_the_distribution() -> None:
    (found,) = compare(Reference({}, {"verdict": {"a": 300}}), Reference({}, {"verdict": {"a": 300}}))
    at_border = replace(found.found, effect=0.1)
    assert services._outcome(at_border, 0.05) == "drift"
    assert services._outcome(at_border, math.nextafter(0.05, 1)) == "none"
    assert services._outcome(replace(at_border, effect=math.nextafter(0.1, 0)), 0.05) == "none"
    assert services._outcome(at_border, None) == "too_few"
