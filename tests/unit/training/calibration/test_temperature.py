"""The fitted temperature against the one that made the labels, and against the two bugs that others had."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from training.calibration.temperature import TEMPERATURE_MAX, Scored, fit_temperature, probabilities_of
from training.statistics.metrics import expected_calibration_error


def scored(photos: int, temperature: float, *, seed: int = 0, classes: int = 6) -> Scored:
    """Logits whose labels are drawn at the given temperature: dividing by it is right by construction."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 1.0, (photos, classes))
    chances = softmax(logits / temperature, axis=1)
    labels = np.array([rng.choice(classes, p=row) for row in chances])
    return Scored(logits, labels, np.ones(photos))


@pytest.mark.parametrize("truth", [0.2, 0.5, 1.0, 3.0])
def test_many_photographs_give_the_true_temperature(truth: float) -> None:
    assert fit_temperature(scored(20_000, truth)) == pytest.approx(truth, rel=0.05)


def test_with_many_photographs_it_is_the_one_of_least_cross_entropy() -> None:
    given = scored(5_000, 0.4)

    def loss(temperature: float) -> float:
        chances = softmax(given.logits / temperature, axis=1)
        return -float(np.log(chances[np.arange(len(chances)), given.labels]).mean())

    oracle = minimize_scalar(loss, bounds=(0.05, 5.0), method="bounded", options={"xatol": 1e-8}).x

    assert fit_temperature(given) == pytest.approx(oracle, rel=0.01)


def test_the_training_photographs_steady_what_a_dozen_say() -> None:
    training = scored(100, 0.3, seed=1)
    alone, steadied = [], []
    for seed in range(30):
        few = scored(15, 0.3, seed=100 + seed)
        alone.append(fit_temperature(few))
        steadied.append(fit_temperature(few, training))

    assert np.std(np.log(steadied)) < np.std(np.log(alone)) / 2
    assert np.median(steadied) == pytest.approx(0.3, rel=0.35)


def test_calibration_photographs_outweigh_the_prior_when_they_are_many() -> None:
    assert fit_temperature(scored(5_000, 1.0), scored(500, 0.2, seed=1)) == pytest.approx(1.0, rel=0.1)


def test_a_handful_of_unlucky_photographs_does_not_outweigh_the_training_photographs() -> None:
    training = scored(200, 0.3, seed=1)
    unlucky = scored(5, 0.3, seed=2)
    unlucky = Scored(unlucky.logits, (unlucky.logits.argmax(axis=1) + 1) % 6, unlucky.weights)

    assert fit_temperature(unlucky) > 1.0
    assert fit_temperature(unlucky, training) < 0.5


def test_answers_that_are_all_right_claim_no_more_with_training_photographs() -> None:
    logits = np.eye(4)[np.arange(40) % 4] * 3.0
    given = Scored(logits[:8], np.arange(8) % 4, np.ones(8))
    training = Scored(logits, np.arange(40) % 4, np.ones(40))

    found = fit_temperature(given, training)

    assert probabilities_of(logits, found).max(axis=1).mean() == pytest.approx((48 + 1) / (48 + 2), abs=1e-5)


def test_answers_that_are_all_wrong_claim_as_little_as_a_temperature_can_say() -> None:
    logits = np.array([[2.0, 0.0]] * 20)
    assert fit_temperature(Scored(logits, np.ones(20, np.intp), np.ones(20))) == TEMPERATURE_MAX


def test_scores_that_say_nothing_have_a_temperature_all_the_same() -> None:
    found = fit_temperature(Scored(np.zeros((8, 2)), np.zeros(8, np.intp), np.ones(8)))
    assert found == pytest.approx(0.3, abs=1e-4)  # what is ordinary


@pytest.mark.parametrize("photos", [4, 40, 400])
def test_answers_that_are_all_right_claim_what_their_number_justifies(photos: int) -> None:
    logits = np.eye(4)[np.arange(photos) % 4] * 3.0
    given = Scored(logits, np.arange(photos) % 4, np.ones(photos))

    found = fit_temperature(given)

    assert probabilities_of(logits, found).max(axis=1).mean() == pytest.approx((photos + 1) / (photos + 2), abs=1e-5)


def test_calibrated_confidence_is_as_often_right_as_it_says() -> None:
    held_out = scored(5_000, 0.5, seed=2)

    found = fit_temperature(scored(500, 0.5, seed=3))

    assert expected_calibration_error(probabilities_of(held_out.logits, found), held_out.labels) < 0.03
    assert expected_calibration_error(probabilities_of(held_out.logits, 2.0), held_out.labels) > 0.1


def test_a_photograph_counts_as_much_as_its_weight() -> None:
    given = scored(200, 0.4)
    doubled = Scored(np.concatenate([given.logits] * 2), np.tile(given.labels, 2), np.full(400, 0.5))

    assert fit_temperature(doubled) == pytest.approx(fit_temperature(given), rel=1e-4)


def with_copies(given: Scored, *, of: int = 3) -> Scored:
    """The same photographs, of which every second one is there so many times and counts once altogether."""
    times = np.where(np.arange(len(given.labels)) % 2, 1, of)
    return Scored(
        np.repeat(given.logits, times, axis=0), np.repeat(given.labels, times), np.repeat(given.weights / times, times)
    )


@pytest.mark.parametrize("truth", [0.2, 0.4, 2.0])
def test_copies_that_count_once_altogether_change_nothing(truth: float) -> None:
    given, training = scored(60, truth), scored(30, truth, seed=5)

    assert fit_temperature(with_copies(given)) == pytest.approx(fit_temperature(given), rel=1e-4)
    assert fit_temperature(with_copies(given), with_copies(training)) == pytest.approx(
        fit_temperature(given, training), rel=1e-4
    )


def test_logits_whose_rows_happen_to_sum_to_one_are_no_probabilities() -> None:
    assert len(Scored(np.array([[2.0, -1.0], [-3.0, 4.0]]), np.array([0, 1]), np.ones(2)).labels) == 2


def test_probabilities_are_refused_where_logits_are_wanted() -> None:
    with pytest.raises(ValueError, match="these are probabilities"):
        Scored(softmax(np.random.default_rng(0).normal(size=(10, 4)), axis=1), np.zeros(10, np.intp), np.ones(10))


@pytest.mark.parametrize(
    ("logits", "labels", "sentence"),
    [
        (np.zeros((0, 4)), np.zeros(0, np.intp), "at least one"),
        (np.full((2, 4), np.nan), np.zeros(2, np.intp), "finite"),
        (np.zeros(4), np.zeros(4, np.intp), "one row for each label"),
        (np.ones((3, 4)), np.zeros(2, np.intp), "a label and a weight"),
    ],
)
def test_scores_that_cannot_be_calibrated_are_refused(logits: np.ndarray, labels: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Scored(logits, labels, np.ones(len(labels)))


def test_each_row_needs_a_weight() -> None:
    with pytest.raises(ValueError, match="a label and a weight"):
        Scored(np.zeros((3, 4)), np.zeros(3, np.intp), np.ones(2))
