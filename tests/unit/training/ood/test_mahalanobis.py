"""The distance against its definition, and what it is blind to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis

from tests.unit.training.ood.cast import CLASSES, SIZE, world
from training.ood.mahalanobis import Mahalanobis
from training.ood.spread import Spread
from training.statistics.covariance import within_class


def test_the_score_is_the_distance_to_the_nearest_class_mean() -> None:
    known = world()
    statistics = within_class(known.embedding, known.labels, classes=CLASSES, shrinkage=0.2)
    precision = np.linalg.inv(statistics.covariance.matrix())
    rows = np.random.default_rng(1).normal(0.0, 2.0, (20, SIZE))

    scores = known.detector().score(rows)

    expected = [min(scipy_mahalanobis(row, mean, precision) for mean in statistics.means) for row in rows]
    assert scores == pytest.approx(expected, rel=1e-9)


def test_the_nearest_of_many_classes_is_found_as_one_after_the_other_would_be() -> None:
    rng = np.random.default_rng(5)
    means, rows = rng.normal(0.0, 1.0, (300, 24)), rng.normal(0.0, 1.0, (50, 24))
    found = Mahalanobis(means, Spread(np.linalg.qr(rng.normal(0.0, 1.0, (24, 5)))[0] * 0.9, 0.01))
    white, centres = found.white(rows), found.white(means)

    wanted = np.min([((white - centre) ** 2).sum(axis=1) for centre in centres], axis=0)

    assert np.array_equal(found.squared(rows), wanted)


def test_a_class_mean_is_at_distance_nothing() -> None:
    detector = world().detector()

    assert detector.score(detector.means) == pytest.approx(np.zeros(CLASSES), abs=1e-6)


def test_white_rows_of_one_class_vary_alike_in_every_direction() -> None:
    known = world()
    statistics = within_class(known.embedding, known.labels, classes=CLASSES, shrinkage=0.2)
    detector = known.detector()

    root = detector.spread.white(np.eye(SIZE))
    covariance = root.T @ statistics.covariance.matrix() @ root

    assert covariance == pytest.approx(np.eye(SIZE), abs=1e-9)
