"""Vector scaling and isotonic regression: they find what was done to the scores, and never rule a class out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import softmax

from training.calibration.alternatives import Calibrator, isotonic, vector_scaling
from training.calibration.temperature import Scored

CLASSES = 3


def drawn(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn by them: calibrated by construction."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 1.5, (count, CLASSES))
    return logits, np.array([rng.choice(CLASSES, p=row) for row in softmax(logits, axis=1)], np.intp)


def scored(logits: np.ndarray, labels: np.ndarray) -> Scored:
    return Scored(logits, labels, np.ones(len(labels)))


def test_vector_scaling_undoes_a_scale_and_a_shift_of_each_class() -> None:
    logits, labels = drawn(20_000)
    scale, shift = np.array([0.5, 2.0, 1.0]), np.array([1.0, 0.0, -1.0])
    found = vector_scaling(scored((logits - shift) / scale, labels))
    assert found.scale == pytest.approx(scale, rel=0.1)
    assert found.shift - found.shift.mean() == pytest.approx(shift - shift.mean(), abs=0.1)
    np.testing.assert_allclose(found((logits - shift) / scale), softmax(logits, axis=1), atol=0.05)


def test_vector_scaling_stays_finite_where_every_answer_is_right() -> None:
    found = vector_scaling(scored(np.eye(CLASSES) * 2.0, np.arange(CLASSES)))
    assert np.isfinite(found(np.eye(CLASSES))).all()


def test_isotonic_regression_keeps_calibrated_scores_and_mends_sharp_ones() -> None:
    logits, labels = drawn(20_000)
    truth = softmax(logits, axis=1)
    for factor in (1.0, 3.0):
        found = isotonic(scored(logits * factor, labels))(logits * factor)
        assert np.abs(found - truth).mean() < 0.05
        assert found.sum(axis=1) == pytest.approx(np.ones(len(found)))


def test_no_class_is_ruled_out_by_a_dozen_photographs() -> None:
    logits, labels = drawn(12, seed=3)
    found = isotonic(scored(logits, labels))(np.array([[50.0, 0.0, -50.0]]))
    assert found.min() > 1e-4


def test_what_keeps_classes_from_being_ruled_out_takes_nothing_from_an_answer_among_hundreds() -> None:
    right = np.eye(300) * 12.0
    found = isotonic(scored(right, np.arange(300)))(right)
    assert found.min() > 0.0
    assert found.max(axis=1) == pytest.approx(np.ones(300), abs=0.011)


@pytest.mark.parametrize("fit", [vector_scaling, isotonic])
def test_copies_that_count_once_altogether_change_nothing(fit: Callable[[Scored], Calibrator]) -> None:
    logits, labels = drawn(60, seed=5)
    times = np.where(np.arange(60) % 2, 1, 4)
    copied = Scored(np.repeat(logits, times, axis=0), np.repeat(labels, times), np.repeat(1.0 / times, times))

    np.testing.assert_allclose(fit(copied)(logits), fit(scored(logits, labels))(logits), atol=1e-3)
