"""Figures: each against a value worked out by hand and against another implementation."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.calibration import calibration_curve

from training.statistics import metrics
from training.statistics.intervals import bootstrap, of_calibration_error

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 2])
# Three photographs: sure and right, unsure and wrong, nearly sure and right.
ROWS = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
TRUTH = np.array([0, 1, 1])


def drawn(seed: int, *, photos: int = 200, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 2.0, (photos, classes))
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(classes, p=row) for row in rows])
    return rows, labels


def test_figures_worked_out_by_hand() -> None:
    assert metrics.confusion_matrix(LABELS, PREDICTED, classes=3).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert metrics.accuracy(LABELS, PREDICTED) == pytest.approx(4 / 6)
    assert metrics.balanced_accuracy(LABELS, PREDICTED) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert metrics.f1_per_class(LABELS, PREDICTED) == pytest.approx({0: 4 / 5, 1: 1 / 2, 2: 2 / 3})
    first, second, third = metrics.class_scores(LABELS, PREDICTED, classes=3)
    assert (first.precision, first.recall) == (1.0, pytest.approx(2 / 3))
    assert (second.precision, second.recall) == (0.5, 0.5)
    assert (third.photos, third.answered, third.hits) == (1, 2, 1)


def test_calibration_worked_out_by_hand() -> None:
    # Five bins: 0.6 lies in (0.4, 0.6], 0.8 in (0.6, 0.8], 0.9 in (0.8, 1].
    assert metrics.expected_calibration_error(ROWS, TRUTH, bins=5) == pytest.approx((0.6 + 0.2 + 0.1) / 3)
    # One bin: two of three are right, the mean confidence is 0.7667.
    assert metrics.expected_calibration_error(ROWS, TRUTH, bins=1) == pytest.approx(0.1)
    assert metrics.equal_mass_calibration_error(ROWS, TRUTH, bins=1) == pytest.approx(0.1)
    assert metrics.equal_mass_calibration_error(ROWS, TRUTH, bins=3) == pytest.approx((0.6 + 0.2 + 0.1) / 3)
    assert metrics.brier(ROWS, TRUTH) == pytest.approx((0.02 + 0.72 + 0.08) / 3)
    assert metrics.negative_log_likelihood(ROWS, TRUTH) == pytest.approx(-np.log([0.9, 0.4, 0.8]).mean())


def test_the_table_behind_the_calibration_error_worked_out_by_hand() -> None:
    table = metrics.reliability(ROWS, TRUTH, bins=5)
    assert [(each.low, each.high) for each in table] == [(n / 5, (n + 1) / 5) for n in range(5)]
    nothing = (0, 0.0, 0.0)
    found = [(each.photos, each.confidence, each.accuracy) for each in table]
    assert found == [nothing, nothing, (1, 0.6, 0.0), (1, 0.8, 1.0), (1, 0.9, 1.0)]
    both = metrics.reliability(np.array([[0.9, 0.1], [0.15, 0.85]]), np.array([0, 0]), bins=5)[4]
    assert (both.photos, both.confidence, both.accuracy) == (2, pytest.approx(0.875), 0.5)


def test_there_are_fifteen_bins() -> None:
    # 1/15 lies between them: with fourteen or sixteen they would share one.
    error = metrics.confidence_error(np.array([0.065, 0.068]), np.array([True, False]))
    assert error == pytest.approx((0.935 + 0.068) / 2)


def test_photographs_of_one_confidence_stay_in_one_bin() -> None:
    rows = np.array([[0.75, 0.25]] * 4)
    labels = np.array([0, 0, 0, 1])
    for order in ([0, 1, 2, 3], [3, 0, 1, 2]):
        assert metrics.equal_mass_calibration_error(rows, labels[order], bins=2) == pytest.approx(0.0)


def test_bins_of_equal_mass_worked_out_by_hand() -> None:
    """Five photographs in two bins: three and two; of two that share a confidence the second joins the first."""

    def error(confidences: list[float]) -> float:
        rows = np.array([[confidence, 1.0 - confidence] for confidence in confidences])
        return metrics.equal_mass_calibration_error(rows, np.array([1, 0, 1, 0, 0]), bins=2)

    assert error([0.51, 0.6, 0.7, 0.8, 0.9]) == pytest.approx((abs(1 - 1.81) + abs(2 - 1.7)) / 5)
    assert error([0.51, 0.6, 0.7, 0.7, 0.9]) == pytest.approx((abs(2 - 2.51) + abs(1 - 0.9)) / 5)


def test_every_class_has_scores_even_where_nothing_can_be_said_of_it() -> None:
    scores = metrics.class_scores(np.array([0, 0]), np.array([0, 1]), classes=3)
    assert [each.precision for each in scores] == [1.0, None, None]
    assert [each.recall for each in scores] == [0.5, None, None]
    assert [each.f1 for each in scores] == [pytest.approx(2 / 3), None, None]


@pytest.mark.parametrize("seed", range(3))
def test_classification_agrees_with_scikit_learn(seed: int) -> None:
    rows, labels = drawn(seed)
    predicted = rows.argmax(axis=1)
    assert metrics.accuracy(labels, predicted) == pytest.approx(oracle.accuracy_score(labels, predicted))
    assert metrics.balanced_accuracy(labels, predicted) == pytest.approx(
        oracle.balanced_accuracy_score(labels, predicted)
    )
    assert metrics.macro_f1(labels, predicted) == pytest.approx(oracle.f1_score(labels, predicted, average="macro"))
    precision, recall, f1, photos = oracle.precision_recall_fscore_support(labels, predicted)
    scores = metrics.class_scores(labels, predicted, classes=4)
    assert [each.precision for each in scores] == pytest.approx(precision)
    assert [each.recall for each in scores] == pytest.approx(recall)
    assert [each.f1 for each in scores] == pytest.approx(f1)
    assert [each.photos for each in scores] == photos.tolist()
    assert metrics.negative_log_likelihood(rows, labels) == pytest.approx(oracle.log_loss(labels, rows))
    assert metrics.brier(rows, labels) == pytest.approx(
        sum(oracle.brier_score_loss(labels == label, rows[:, label]) for label in range(4))
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [5, 10, 15])
def test_calibration_agrees_with_scikit_learn(seed: int, bins: int) -> None:
    rows, labels = drawn(seed)
    confidence, correct = rows.max(axis=1), rows.argmax(axis=1) == labels
    for ours, strategy in (
        (metrics.expected_calibration_error, "uniform"),
        (metrics.equal_mass_calibration_error, "quantile"),
    ):
        # scikit-learn leaves empty bins out and says nothing of how full the others are: count them anew.
        frequency, mean = calibration_curve(correct, confidence, n_bins=bins, strategy=strategy)
        edges = (
            np.linspace(0.0, 1.0, bins + 1)
            if strategy == "uniform"
            else np.quantile(confidence, np.linspace(0.0, 1.0, bins + 1))
        )
        filled = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=bins)
        expected = (filled[filled > 0] * np.abs(frequency - mean)).sum() / len(labels)
        assert ours(rows, labels, bins=bins) == pytest.approx(expected, abs=0.02 if strategy == "quantile" else 1e-9)


def test_classwise_error_of_two_classes_is_that_of_either() -> None:
    rows, labels = drawn(5, classes=2)
    frequency, mean = calibration_curve(labels == 0, rows[:, 0], n_bins=10)
    filled = np.bincount((np.ceil(rows[:, 0] * 10).astype(int) - 1).clip(0), minlength=10)
    expected = (filled[filled > 0] * np.abs(frequency - mean)).sum() / len(labels)
    assert metrics.classwise_calibration_error(rows, labels, bins=10) == pytest.approx(expected, abs=1e-9)


def test_risk_and_coverage_worked_out_by_hand() -> None:
    curve = metrics.risk_coverage(np.array([0.9, 0.7, 0.8, 0.6]), np.array([True, False, True, True]))
    # From the most confident: right, right, wrong, right.
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0.0, 0.0, 1 / 3, 1 / 4])
    assert curve.area == pytest.approx((1 / 3 + 1 / 4) / 4)
    # At best the one mistake comes last.
    assert curve.excess_area == pytest.approx((1 / 3 + 1 / 4) / 4 - (1 / 4) / 4)


def test_a_perfect_order_has_no_excess_risk() -> None:
    curve = metrics.risk_coverage(np.array([0.9, 0.8, 0.4, 0.3]), np.array([True, True, False, False]))
    assert curve.excess_area == pytest.approx(0.0)


@given(st.permutations(range(6)))
def test_risk_does_not_depend_on_the_order_of_photographs(order: list[int]) -> None:
    confidence = np.array([0.9, 0.9, 0.5, 0.5, 0.5, 0.1])
    correct = np.array([True, False, True, True, False, False])
    there = metrics.risk_coverage(confidence, correct)
    back = metrics.risk_coverage(confidence[order], correct[order])
    assert back.risk == pytest.approx(there.risk)
    assert there.risk[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(3))
def test_detection_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Rounded: ties must count half.
    known, outside = rng.normal(0.0, 1.0, 80).round(1), rng.normal(1.0, 1.0, 50).round(1)
    truth, scores = np.repeat([0, 1], [80, 50]), np.concatenate([known, outside])
    assert metrics.auroc(known, outside) == pytest.approx(oracle.roc_auc_score(truth, scores))
    assert metrics.auroc(known, outside) == pytest.approx(
        float(np.mean((outside[:, None] > known) + 0.5 * (outside[:, None] == known)))
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_auroc_of_a_resample_is_counted_as_it_would_be_sorted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, outside = (np.round(rng.normal(shift, 1.0, count), 1) for shift, count in ((0.0, 40), (0.5, 7)))  # with ties
    ranks = metrics.ranked(known, outside)

    for _ in range(20):
        drawn, away = rng.integers(0, 40, 40), rng.integers(0, 7, 7)
        counts = np.bincount(drawn, minlength=40), np.bincount(away, minlength=7)
        assert ranks.auroc(*counts) == metrics.auroc(known[drawn], outside[away])  # to the last bit
    assert np.isnan(ranks.auroc(np.zeros(40, int), np.ones(7, int)))
    with pytest.raises(ValueError, match="nan"):
        metrics.ranked(known, np.array([np.nan]))


def test_the_rate_at_95_percent_worked_out_by_hand() -> None:
    known = np.arange(1.0, 21.0)  # the least border that keeps 19 of 20 is 19
    assert metrics.fpr_at_95_tpr(known, np.array([18.0, 19.0, 19.5, 30.0])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (np.zeros((0, 2)), np.zeros(0, int)),
        (np.array([[0.5, 0.4]]), np.array([0])),
        (np.array([[1.5, -0.5]]), np.array([0])),
        (np.array([[np.nan, 1.0]]), np.array([0])),
        (np.array([[0.5, 0.497]]), np.array([0])),
        (np.array([[0.5, 0.5]]), np.array([2])),
        (np.array([[0.5, 0.5]]), np.array([-1])),
        (np.array([[0.5, 0.5]]), np.array([0, 1])),
        (np.array([0.5, 0.5]), np.array([0, 1])),
        # One row among good ones.
        (np.array([[0.5, 0.5], [0.5, 0.4]]), np.array([0, 0])),
        (np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0, 2])),
        (np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0, -1])),
    ],
)
def test_what_is_no_probability_is_refused(rows: np.ndarray, labels: np.ndarray) -> None:
    for measure in (
        metrics.expected_calibration_error,
        metrics.equal_mass_calibration_error,
        metrics.classwise_calibration_error,
        metrics.reliability,
        metrics.brier,
        metrics.negative_log_likelihood,
    ):
        with pytest.raises(ValueError, match="probabilit"):
            measure(rows, labels)


def test_a_class_that_is_there_has_an_f1_and_one_that_was_only_answered_has_none() -> None:
    some, others = np.array([0, 0, 3]), np.array([0, 4, 3])

    assert metrics.f1_per_class(others, some) == {0: pytest.approx(2 / 3), 3: 1.0, 4: 0.0}
    assert metrics.macro_f1(others, some) == pytest.approx(5 / 9)
    assert metrics.f1_per_class(some, others) == {0: pytest.approx(2 / 3), 3: 1.0}
    assert metrics.macro_f1(some, others) == pytest.approx(5 / 6)


def test_confidences_near_0_have_bins_of_their_own_and_0_is_in_the_first() -> None:
    error = metrics.confidence_error(np.array([0.0, 0.05, 0.1]), np.array([False, True, False]))
    assert error == pytest.approx((0.95 + 0.1) / 3)


def test_a_certain_mistake_costs_much_and_not_infinitely_much() -> None:
    assert metrics.negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))


def test_figures_of_nothing_and_of_no_numbers_are_refused() -> None:
    some, none = np.array([0.5]), np.zeros(0)
    for compare in (metrics.auroc, metrics.fpr_at_95_tpr):
        for known, outside in ((some, none), (none, some)):
            with pytest.raises(ValueError, match="two sets that both have photographs"):
                compare(known, outside)
        for known, outside in ((some, np.array([0.1, np.nan])), (np.array([np.nan, 0.1]), some)):
            with pytest.raises(ValueError, match="not nan"):
                compare(known, outside)
    for confidence, correct in ((none, none.astype(bool)), (some, np.array([True, False]))):
        with pytest.raises(ValueError, match="a confidence for each of at least one answer"):
            metrics.risk_coverage(confidence, correct)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [0, 0, 3, 3, 4, 5], [0, 1, 2, 2, 1, 0], [5, 5, 5, 5, 5, 5]])
def test_weights_give_the_balanced_accuracy_of_a_resample_even_of_one_that_lost_classes(rows: list[int]) -> None:
    chosen = np.array(rows, np.intp)
    weights = metrics.balanced_weights(LABELS, chosen)
    assert (PREDICTED == LABELS) @ weights == pytest.approx(
        metrics.balanced_accuracy(LABELS[chosen], PREDICTED[chosen])
    )


def test_the_number_of_photographs_that_settle_an_error_is_rounded_up() -> None:
    luck = metrics.CalibrationLuck(mean=0.07, low=0.05, high=0.1, p_value=0.5)
    assert metrics.photographs_to_settle(luck, 100, 0.05) == 400  # half the error takes four times as many
    assert metrics.photographs_to_settle(luck, 101, 0.05) == 450


def test_few_photographs_make_an_error_of_answers_that_mean_what_they_say() -> None:
    confidence = np.random.default_rng(0).uniform(0.4, 1.0, 130)
    few = metrics.luck_of_calibration(confidence, 0.06, seed=1)
    many = metrics.luck_of_calibration(np.tile(confidence, 100), 0.06, seed=1, draws=200)
    assert 0.05 < few.mean < 0.11
    assert few.low < few.mean < few.high
    assert many.mean == pytest.approx(few.mean / 10, rel=0.15)  # as the root of their number
    assert few.p_value > 0.5
    assert many.p_value == pytest.approx(1 / 201)


def test_copies_share_their_luck() -> None:
    confidence = np.random.default_rng(0).uniform(0.4, 1.0, 130)
    once = metrics.luck_of_calibration(confidence, 0.06, seed=1, draws=200)
    copied, groups = np.repeat(confidence, 4), np.repeat(np.arange(130), 4)
    shared = metrics.luck_of_calibration(copied, 0.06, seed=1, draws=200, groups=groups)
    assert shared.mean == pytest.approx(once.mean, rel=0.1)
    assert metrics.luck_of_calibration(copied, 0.06, seed=1, draws=200).mean < 0.7 * once.mean


def test_luck_explains_five_percent_of_what_is_calibrated_at_five_percent() -> None:
    rng = np.random.default_rng(2)
    found = []
    for seed in range(300):
        confidence = rng.uniform(0.3, 1.0, 100)
        error = metrics.confidence_error(confidence, rng.random(100) < confidence)
        found.append(metrics.luck_of_calibration(confidence, error, seed=seed, draws=200).p_value)
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.04)  # three standard deviations


def test_several_models_on_the_same_photographs_share_their_luck() -> None:
    confidence = np.random.default_rng(0).uniform(0.4, 1.0, 130)
    one = metrics.luck_of_calibration(confidence, 0.06, seed=1, draws=100)
    assert metrics.luck_of_calibration(np.stack([confidence] * 3), 0.06, seed=1, draws=100) == one


def test_an_error_that_luck_shows_over_several_seeds_has_0_in_its_interval() -> None:
    held = {"percentiles turned": 0, "against luck": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        said = np.clip(rng.beta(6.0, 1.0, 131) + rng.normal(0.0, 0.03, (3, 131)), 0.2, 1.0)
        right = rng.random(131) < said.mean(axis=0)

        def error(rows: np.ndarray, s: np.ndarray = said, r: np.ndarray = right) -> float:
            return float(np.mean([metrics.confidence_error(each[rows], r[rows]) for each in s]))

        found = bootstrap(error, [np.zeros(131, np.intp)], seed=seed, resamples=100)
        held["percentiles turned"] += of_calibration_error(found).low == 0.0
        held["against luck"] += metrics.calibration_interval(found, said, seed=seed).low == 0.0
    assert held["percentiles turned"] < 45
    assert held["against luck"] >= 52


@pytest.mark.parametrize("photos", [60, 131])
def test_so_many_photographs_settle_a_calibration_error(photos: int) -> None:
    confidence = np.random.default_rng(3).beta(6.0, 1.0, 131)[:photos]
    luck = metrics.luck_of_calibration(confidence, 0.05, seed=0)
    assert luck.high > 0.05
    wanted = metrics.photographs_to_settle(luck, photos, 0.05)
    assert wanted % 50 == 0
    then = metrics.luck_of_calibration(np.resize(confidence, wanted), 0.05, seed=1)
    fewer = metrics.luck_of_calibration(np.resize(confidence, wanted // 2), 0.05, seed=1)
    assert then.high == pytest.approx(0.05, abs=0.005)
    assert fewer.high > 0.06


def test_known_photographs_are_compared_with_other_things_as_their_own_version_scores_them() -> None:
    # Two versions on scales of their own; of the first one's four pairs three are right, of the second one's two both.
    known, version = np.array([1.0, 3.0, 10.0]), np.array([0, 0, 1])
    outside = np.array([[2.0, 4.0], [11.0, 12.0]])
    assert metrics.auroc_of_a_version(known, version, outside) == pytest.approx((3 + 2) / 6)
    pairs = [outside[own] > score for score, own in zip(known, version, strict=True)]
    assert metrics.auroc_of_a_version(known, version, outside) == pytest.approx(np.mean(pairs))
    assert metrics.auroc_of_a_version(known, np.zeros(3, np.intp), outside) == metrics.auroc(known, outside[0])


def test_the_auroc_of_five_versions_is_that_of_one_and_not_of_their_mean_score() -> None:
    rng = np.random.default_rng(0)
    known, version = rng.normal(0.0, 1.0, 3000), np.arange(3000) % 5
    outside = rng.normal(1.0, 1.0, (5, 3000))  # each version with noise of its own
    expected = stats.norm.cdf(1.0 / np.sqrt(2.0))
    assert metrics.auroc_of_a_version(known, version, outside) == pytest.approx(expected, abs=0.02)
    assert metrics.auroc(known, outside.mean(axis=0)) > expected + 0.04
