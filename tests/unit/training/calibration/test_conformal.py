"""Prediction sets: the limit by hand, and the coverage that it promises."""

from __future__ import annotations

import numpy as np
import pytest

from protos.verdict import DecisionLimits, prediction_set
from training.calibration.conformal import set_probability_min


def test_the_limit_worked_out_by_hand() -> None:
    # Nine photographs, scores 1 - p(true) of 0.1 ... 0.9: the ceil(10 * 0.8) = 8th smallest is 0.8.
    own = np.arange(0.9, 0.05, -0.1)
    rows = np.stack([own, 1.0 - own], axis=1)
    assert set_probability_min(rows, np.zeros(9, int), coverage=0.8) == pytest.approx(0.2)


def test_too_few_photographs_for_the_coverage_put_every_class_into_the_set() -> None:
    rows = np.array([[0.9, 0.1]] * 8)
    assert set_probability_min(rows, np.zeros(8, int), coverage=0.9) == 0.0
    assert set_probability_min(np.array([[0.9, 0.1]] * 9), np.zeros(9, int), coverage=0.9) == pytest.approx(0.9)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_cover_new_photographs_at_least_as_often_as_promised(coverage: float) -> None:
    covered, sizes = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = rng.dirichlet(np.ones(4), 70)
        labels = np.array([rng.choice(4, p=row) for row in rows])
        least = set_probability_min(rows[:50], labels[:50], coverage=coverage)
        limits = DecisionLimits(0.5, 0.1, (), set_coverage=coverage, set_probability_min=least)
        sets = [prediction_set(row.tolist(), limits) for row in rows[50:]]
        covered += [label in found for label, found in zip(labels[50:], sets, strict=True)]
        sizes += [len(found) for found in sets]
    # Split conformal prediction promises coverage to coverage + 1 / 51, on average over calibrations.
    assert coverage - 0.01 <= np.mean(covered) <= coverage + 1 / 51 + 0.02
    assert np.mean(sizes) < 4.0
