"""The inverse of a covariance from few directions: exact where few are all there are, honest where not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.ood.cast import SIZE
from training.ood import spread
from training.statistics.covariance import Covariance


def covariance_of(variances: np.ndarray) -> Covariance:
    axes, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(len(variances), len(variances))))
    return Covariance((axes * variances) @ axes.T, None, 1.0, 0.0, len(variances))


def test_a_covariance_that_is_flat_beyond_the_kept_directions_is_inverted_exactly() -> None:
    covariance = covariance_of(np.array([9.0, 4.0, 2.0, *[0.5] * (SIZE - 3)]))
    found = spread.of_covariance(covariance, directions=3)
    rows = np.random.default_rng(3).normal(size=(5, SIZE))

    assert found.white(rows) @ found.white(rows).T == pytest.approx(
        rows @ np.linalg.inv(covariance.matrix()) @ rows.T, rel=1e-9
    )


def test_directions_that_are_not_kept_share_the_mean_of_their_variances() -> None:
    found = spread.of_covariance(covariance_of(np.array([9.0, 4.0, 3.0, 1.0])), directions=2)

    assert found.rest == pytest.approx(2.0)


def test_more_directions_than_there_are_keep_all_but_one() -> None:
    covariance = covariance_of(np.geomspace(1.0, 0.05, SIZE))
    rows = np.random.default_rng(4).normal(size=(5, SIZE))

    found = spread.of_covariance(covariance, directions=10 * SIZE)

    assert found.white(rows) @ found.white(rows).T == pytest.approx(
        rows @ np.linalg.inv(covariance.matrix()) @ rows.T, rel=1e-9
    )
