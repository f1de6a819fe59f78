"""The borders of a version: how many held-out photographs they count."""

from __future__ import annotations

import numpy as np
import pytest

from training.fitting.features import Features
from training.fitting.recipe import recipe_of, with_settings
from training.fitting.version import Part, fit_version

SIZE = 12
RECIPE = with_settings(recipe_of("standard"), {"views": 0, "forest_trees": 5, "levels": ["head"]})


def part_of(rows: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Part:
    return Part(Features(rows.astype(np.float32), np.zeros((len(rows), 0, SIZE), np.float32)), labels, groups)


def test_borders_count_ten_copies_of_a_held_out_photograph_as_one() -> None:
    rng = np.random.default_rng(0)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = np.arange(count) % 2
        return 4.0 * np.eye(SIZE)[labels] + rng.normal(0.0, 1.0, (count, SIZE)), labels, np.arange(count)

    train, calibration, (rows, labels, groups) = part_of(*drawn(40)), part_of(*drawn(20)), drawn(6)
    once, ten_times = (
        fit_version(
            train,
            calibration,
            part_of(np.repeat(rows, copies, axis=0), np.repeat(labels, copies), np.repeat(groups, copies)),
            np.zeros((0, SIZE)),
            classes=2,
            recipe=RECIPE,
            seed=0,
        )
        for copies in (1, 10)
    )
    assert once.limits.detectors
    for one, ten in zip(once.limits.detectors, ten_times.limits.detectors, strict=True):
        # The deviation of ten copies each is smaller by the root of 59/60 over 5/6, and nothing else is.
        assert ten.out_at - ten.typical == pytest.approx(one.out_at - one.typical, rel=0.12)
        assert ten.unsure_at - ten.typical == pytest.approx(one.unsure_at - one.typical, rel=0.12)
