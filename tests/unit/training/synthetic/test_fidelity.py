"""Distances between sets: values by hand, second implementations, and what each one must and must not see."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from training.synthetic.fidelity import copies, frechet_distance, kernel_distance, precision_recall


def rows(seed: int, count: int = 40, size: int = 6, *, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (count, size))


def test_the_frechet_distance_by_hand() -> None:
    # One feature: (m - w)^2 + (s - t)^2; means 1 and 4, variances 2 and 8.
    assert frechet_distance(np.array([[0.0], [2.0]]), np.array([[2.0], [6.0]])) == pytest.approx(9.0 + 2.0)


@pytest.mark.parametrize("count", [5, 40, 200])
def test_the_frechet_distance_is_that_of_the_matrix_square_root(count: int) -> None:
    one, other = rows(1, 60), rows(2, count, shift=0.3, scale=1.4) @ np.diag([1, 2, 3, 1, 1, 0.5])
    product = np.cov(one, rowvar=False) @ np.cov(other, rowvar=False)
    trace = np.trace(np.cov(one, rowvar=False)) + np.trace(np.cov(other, rowvar=False))
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + trace - 2 * np.trace(scipy.linalg.sqrtm(product).real)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


def test_a_set_is_at_no_distance_from_itself_and_the_order_of_sets_does_not_matter() -> None:
    one, other = rows(1, 9, 30), rows(2, 12, 30, shift=1.0)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))


def test_the_kernel_distance_by_hand() -> None:
    # k = (xy + 1)^3: within {0, 1}: 1; within {2, 3}: 343; across: (1 + 1 + 27 + 64) / 4.
    found = kernel_distance(np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]]))
    assert found == pytest.approx(1.0 + 343.0 - 2.0 * 93.0 / 4.0)


def test_the_kernel_distance_of_one_kind_is_zero_on_average_and_of_two_is_not() -> None:
    same = [kernel_distance(rows(seed), rows(seed + 500)) for seed in range(60)]
    apart = [kernel_distance(rows(seed), rows(seed + 500, shift=0.8)) for seed in range(60)]
    assert abs(np.mean(same)) < 2.5 * np.std(same) / np.sqrt(60)
    assert np.mean(apart) > 10 * np.std(same) / np.sqrt(60)


def test_precision_falls_where_synthetic_ones_stray_and_recall_where_they_are_all_alike() -> None:
    real = rows(1, 200, 2)
    assert precision_recall(real, real) == (1.0, 1.0)
    strayed = np.concatenate([rows(2, 100, 2), rows(3, 100, 2, shift=50.0)])
    precision, recall = precision_recall(real, strayed)
    assert precision == pytest.approx(0.5, abs=0.06)
    assert recall > 0.8
    precision, recall = precision_recall(real, rows(4, 200, 2, scale=0.05))
    assert precision > 0.9
    assert recall < 0.2


def test_precision_and_recall_by_hand() -> None:
    # One neighbour: every reach is 1. Of {0, 1, 2} the points 0.5 and 3 are reached, 9 is not.
    real, synthetic = np.array([[0.0], [1.0], [2.0]]), np.array([[0.5], [3.0], [9.0]])
    precision, recall = precision_recall(real, synthetic, neighbours=1)
    assert precision == pytest.approx(2 / 3)
    assert recall == pytest.approx(1.0)  # 0.5 reaches 2.5 far, as far as 3


def test_a_copy_is_found_and_a_new_photograph_is_not() -> None:
    real = rows(1, 100, 20)
    groups = np.arange(100)
    assert copies(real, groups, real + 1e-3).all()
    assert copies(real, groups, rows(2, 400, 20)).mean() < 0.15
    # Two copies among the real ones do not make every synthetic photograph look new.
    twice, numbers = np.concatenate([real, real]), np.concatenate([groups, groups])
    assert copies(twice, numbers, real + 1e-3).all()
    with pytest.raises(ValueError, match="no copies of each other"):
        copies(real[:2], np.zeros(2, int), real)


def test_how_near_is_too_near_worked_out_by_hand() -> None:
    # Twenty pairs with gaps of 1 to 20: of the forty distances the quantile 0.05 lies at 1.95.
    real = np.array([[1000.0 * gap + place] for gap in range(1, 21) for place in (0.0, gap)])
    synthetic = np.array([[1000.0 - 1.9], [1000.0 - 1.95], [1000.0 - 2.0], [20021.9]])
    assert copies(real, np.arange(40), synthetic).tolist() == [True, False, False, True]
    # The two of gap 1 are copies of one photograph: their nearest is elsewhere, and the least distances are 2.
    groups = np.array([0, 0, *range(2, 40)])
    assert copies(real, groups, synthetic + 0.05).tolist() == [True, True, True, True]
    assert copies(real, np.arange(40), np.array([[18990.0]]), quantile=0.5).tolist() == [True]
    assert copies(real, np.arange(40), np.array([[18989.5]]), quantile=0.5).tolist() == [False]
