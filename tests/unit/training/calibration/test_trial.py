"""A temperature is judged where it was not fitted, and not served where it does harm there."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.calibration.test_temperature import scored, with_copies
from training.calibration.temperature import Scored, fit_temperature, probabilities_of
from training.calibration.trial import FOLDS, Foldable, tried_temperature
from training.statistics.metrics import expected_calibration_error, negative_log_likelihood


def alone(given: Scored) -> Foldable:
    """Every row a group of its own."""
    return Foldable(given, np.arange(len(given.labels)))


def test_a_temperature_that_helps_is_served_as_it_was_fitted() -> None:
    calibration, training = scored(40, 0.3, seed=1), scored(100, 0.3, seed=2)

    found = tried_temperature(alone(calibration), alone(training))

    assert found.refused == ""
    assert found.temperature == fit_temperature(calibration, training)
    assert found.nll[1] < found.nll[0]
    assert found.ece[1] < found.ece[0]


def test_every_row_is_judged_with_a_temperature_that_it_had_no_say_in() -> None:
    given = scored(30, 0.5, seed=4)
    fold = np.arange(30) % FOLDS
    parts = []
    for number in range(FOLDS):
        rest = fold != number
        temperature = fit_temperature(Scored(given.logits[rest], given.labels[rest], given.weights[rest]))
        parts.append((probabilities_of(given.logits[~rest], temperature), given.labels[~rest]))
    probabilities, labels = (np.concatenate(rows) for rows in zip(*parts, strict=True))

    found = tried_temperature(alone(given))

    assert found.nll[1] == pytest.approx(negative_log_likelihood(probabilities, labels))
    assert found.ece[1] == pytest.approx(expected_calibration_error(probabilities, labels))
    assert found.ece[0] == pytest.approx(expected_calibration_error(probabilities_of(given.logits, 1.0), given.labels))


def test_one_that_does_harm_elsewhere_is_refused_with_a_sentence() -> None:
    """Fold by fold the photographs contradict each other: what suits four of the five harms the fifth."""
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 4
    logits = np.eye(4)[labels] * 4.0 + rng.normal(0.0, 0.1, (100, 4))
    misled = np.arange(100) % FOLDS == 0
    logits[misled] = np.roll(logits[misled], 1, axis=1)

    found = tried_temperature(alone(Scored(logits, labels, np.ones(100))))

    assert found.temperature == 1.0
    assert found.nll[1] > found.nll[0]
    assert "is refused" in found.refused
    assert "worsens NLL from" in found.refused


def test_one_that_worsens_the_ece_alone_is_refused() -> None:
    rng = np.random.default_rng(6)
    labels, logits = rng.integers(0, 3, 60), rng.normal(size=(60, 3))
    logits[np.arange(60), labels] += 1.0

    found = tried_temperature(alone(Scored(logits, labels, np.ones(60))))

    assert (found.nll[1] < found.nll[0], found.ece[1] > found.ece[0]) == (True, True)
    assert found.temperature == 1.0
    assert "worsens ECE from" in found.refused


def test_copies_that_count_once_altogether_change_no_figure() -> None:
    given = scored(40, 0.5, seed=4)
    times = np.where(np.arange(40) % 2, 1, 3)
    once, copied = (
        tried_temperature(alone(given)),
        tried_temperature(Foldable(with_copies(given), np.repeat(np.arange(40), times))),
    )

    assert copied.temperature == pytest.approx(once.temperature, rel=1e-4)
    assert copied.nll == pytest.approx(once.nll, rel=1e-4)
    assert copied.ece == pytest.approx(once.ece, abs=1e-4)


def test_copies_of_a_photograph_stay_in_one_fold() -> None:
    given = scored(2, 0.5)
    copies = Scored(np.repeat(given.logits, 20, axis=0), np.repeat(given.labels, 20), np.ones(40))

    with pytest.raises(ValueError, match="two groups"):
        tried_temperature(Foldable(copies, np.zeros(40, np.intp)))


def test_a_temperature_that_changes_nothing_is_no_worse_than_none() -> None:
    says_nothing = Scored(np.zeros((20, 4)), np.arange(20) % 4, np.ones(20))

    found = tried_temperature(alone(says_nothing))

    assert found.nll[0] == found.nll[1]
    assert (found.refused, found.temperature) == ("", fit_temperature(says_nothing))
