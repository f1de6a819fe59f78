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


def test_the_photograph_at_the_limit_belongs_to_its_own_set() -> None:
    own = np.array([0.3] * 9)  # 1 - (1 - 0.3) is a little more than 0.3
    assert set_probability_min(np.stack([own, 1.0 - own], axis=1), np.zeros(9, int), coverage=0.9) == 0.3


def test_photographs_of_one_object_count_once_altogether() -> None:
    own = np.arange(0.95, 0.2, -0.05)  # 15 objects
    rows = np.stack([own, 1.0 - own], axis=1)
    once = set_probability_min(rows, np.zeros(15, int), coverage=0.9)
    many, labels, groups = np.repeat(rows, 10, axis=0), np.zeros(150, int), np.repeat(np.arange(15), 10)
    assert set_probability_min(many, labels, coverage=0.9, groups=groups) == once == own[14]
    assert set_probability_min(many, labels, coverage=0.9) == own[13]  # 0.875 of new objects: the 14th of 16 places
    assert set_probability_min(rows[:8], labels[:8], coverage=0.9, groups=np.arange(8)) == 0.0
    assert set_probability_min(many[:80], labels[:80], coverage=0.9, groups=groups[:80]) == 0.0


def test_sets_cover_photographs_of_new_objects_as_often_as_promised() -> None:
    covered = {"photographs": [], "objects": []}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        own = rng.beta(3.0, 1.0, 115)  # 15 objects with 12 photographs each, which agree; 100 new ones
        rows = np.stack([own, 1.0 - own], axis=1)
        seen, groups = np.repeat(rows[:15], 12, axis=0), np.repeat(np.arange(15), 12)
        for name, each in (("photographs", None), ("objects", groups)):
            least = set_probability_min(seen, np.zeros(180, int), coverage=0.9, groups=each)
            covered[name].append(float((own[15:] >= least).mean()))
    assert np.mean(covered["photographs"]) < 0.89
    assert 0.9 <= np.mean(covered["objects"]) <= 0.9 + 1 / 16


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
