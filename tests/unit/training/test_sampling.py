"""Sampling: classes weigh the same, and those that vary more weigh more, within bounds."""

from __future__ import annotations

import numpy as np
import pytest

from training.sampling import balanced, loss_aware, minorities, variance_aware


def test_every_class_weighs_the_same() -> None:
    weights = balanced(np.array([0, 0, 0, 1]))
    assert weights == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_a_class_that_varies_more_is_drawn_more_by_the_ratio_of_spreads() -> None:
    # Spreads by hand, with n - 1: 2, 2 and 3.
    rows = np.array([[0.0], [2.0], [0.0], [2.0], [0.0], [6**0.5]])
    labels = np.array([0, 0, 1, 1, 2, 2])
    shares = variance_aware(rows, labels).reshape(3, 2).sum(axis=1)
    assert shares == pytest.approx(np.array([1.0, 1.0, 1.5]) / 3.5)


def test_no_class_is_drawn_more_than_twice_or_less_than_half_as_often_as_the_middle() -> None:
    rows = np.array([[0.0], [1e-3], [0.0], [1.0], [0.0], [1.0], [0.0], [100.0], [5.0]])
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    weights = variance_aware(rows, labels)
    shares = np.array([weights[labels == label].sum() for label in range(5)])
    assert shares / shares[1] == pytest.approx([0.5, 1.0, 1.0, 2.0, 1.0])
    assert weights.sum() == pytest.approx(1.0)


def test_without_any_spread_classes_weigh_the_same() -> None:
    labels = np.array([0, 0, 1])
    assert variance_aware(np.zeros((3, 2)), labels) == pytest.approx(balanced(labels))


def test_a_class_whose_losses_vary_more_is_drawn_more_from_the_photographs_that_are_learnt_from() -> None:
    # Variances by hand, with n - 1: 2, 2 and 3; the class of one loss gets the share of the middle.
    losses = np.array([0.0, 2.0, 1.0, 3.0, 0.0, 6**0.5, 9.0])
    drawn = np.array([0, 0, 0, 1, 2, 2, 3])
    weights = loss_aware(losses, np.array([0, 0, 1, 1, 2, 2, 3]), drawn)
    shares = np.array([weights[drawn == label].sum() for label in range(4)])
    assert shares == pytest.approx(np.array([1.0, 1.0, 1.5, 1.0]) / 4.5)
    assert len(set(weights[drawn == 0])) == 1


def test_a_class_without_any_loss_is_drawn_as_the_others() -> None:
    weights = loss_aware(np.array([0.1, 0.1]), np.array([0, 0]), np.array([0, 1, 1]))
    assert weights == pytest.approx(balanced(np.array([0, 1, 1])))


def test_small_classes_are_those_below_the_one_in_the_middle() -> None:
    labels = np.repeat([0, 1, 2, 4], [2, 5, 9, 5])  # class 3 has no photograph
    assert minorities(labels).tolist() == [label == 0 for label in labels]
    assert not minorities(np.array([0, 0, 1, 1])).any()
