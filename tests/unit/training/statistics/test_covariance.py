"""Directions and variances against the matrix that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf  # type: ignore[import-untyped]  # it has no stubs

from training.statistics.covariance import Covariance


@given(
    counts=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    size=st.integers(2, 30),
    shrinkage=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_few_rows_and_many_give_what_the_definition_says(
    counts: list[int], size: int, shrinkage: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    groups = [rng.normal(rng.normal(), 1.0, (count, size)) * np.geomspace(1.0, 0.01, size) for count in counts]
    groups.append(groups[0][:1] + np.array([[-1.0], [1.0]]))  # so that something varies
    around = np.concatenate([group - group.mean(axis=0) for group in groups])
    scatter = around.T @ around / len(around)
    expected = (1.0 - shrinkage) * scatter + shrinkage * np.trace(scatter) / size * np.eye(size)
    rows = rng.normal(size=(3, size))

    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    means = np.stack([group.mean(axis=0) for group in groups])
    found = Covariance.around(np.concatenate(groups), labels, means, shrinkage=shrinkage)

    assert found.matrix() == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert found.trace == pytest.approx(np.trace(expected))
    assert found.solved(rows) @ expected == pytest.approx(rows, rel=1e-6, abs=1e-8)


def test_what_never_varies_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="look the same"):
        Covariance.around(np.ones((3, 5)), np.zeros(3, np.intp), np.ones((1, 5)), shrinkage=0.2)


@pytest.mark.parametrize("rows_are_fewer", [True, False])
def test_the_largest_directions_are_those_of_the_matrix(rows_are_fewer: bool) -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(25 if rows_are_fewer else 200, 40)) * np.geomspace(1.0, 0.1, 40)
    found = Covariance.around(rows, np.zeros(len(rows), np.intp), rows.mean(axis=0, keepdims=True), shrinkage=0.2)

    some = found.largest(10)

    assert found.matrix() @ some.vectors == pytest.approx(some.vectors * some.variances, abs=1e-10)
    assert some.variances == pytest.approx(np.linalg.eigvalsh(found.matrix())[-10:])
    assert len(found.largest(40).variances) == (24 if rows_are_fewer else 40)  # a mean was taken away


@pytest.mark.parametrize("rows_are_fewer", [True, False])
def test_without_a_share_it_is_the_one_that_ledoit_and_wolf_estimate(rows_are_fewer: bool) -> None:
    rng = np.random.default_rng(8)
    rows = rng.normal(0.0, 1.0, (30 if rows_are_fewer else 400, 60)) * np.linspace(0.2, 2.0, 60)
    labels = rng.integers(0, 3, len(rows))
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(3)])
    found = Covariance.around(rows, labels, means, shrinkage=None)
    wanted, share = ledoit_wolf(rows - means[labels], assume_centered=True)
    assert 0.01 < share < 0.9
    assert 1.0 - found.share == pytest.approx(share)
    assert np.allclose(found.matrix(), wanted)


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ([[1.0, 0.0], [-1.0, 0.0]] * 50, 1e-4),  # they tell the covariance exactly, and it has no inverse
        ([[1.01, 0.0], [-1.01, 0.0], [0.0, 1.0], [0.0, -1.0]], 1.0),  # nearer to the identity than they tell
        ([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], 1.0),  # a multiple of it
    ],
)
def test_an_estimated_share_leaves_an_inverse_and_is_at_most_all(rows: list[list[float]], share: float) -> None:
    found = Covariance.around(np.array(rows), np.zeros(len(rows), np.intp), np.zeros((1, 2)), shrinkage=None)
    assert 1.0 - found.share == pytest.approx(share)
    assert found.matrix() @ found.solved(np.eye(2)) == pytest.approx(np.eye(2))
