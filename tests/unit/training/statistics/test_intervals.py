"""Intervals: what they promise, measured, and what they refuse to invent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from training.statistics import metrics
from training.statistics.intervals import (
    LEVEL,
    Interval,
    bootstrap,
    bootstrap_all,
    effective,
    of_calibration_error,
    of_class_mean,
    of_difference,
    reflected,
    share_of,
    with_room,
)

ONE_STRATUM = np.zeros(60, np.int64)


def test_the_interval_of_a_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 60)
    found = bootstrap(lambda rows: float(values[rows].mean()), [ONE_STRATUM], seed=0, resamples=4000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.06)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(100):
        values = np.random.default_rng(seed).normal(0.0, 1.0, 60)
        found = bootstrap(lambda rows, v=values: float(v[rows].mean()), [ONE_STRATUM], seed=seed, resamples=300)
        covered += found.low <= 0.0 <= found.high
    assert 85 <= covered <= 100


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(2).normal(0.0, 1.0, 60)

    def measured(seed: int) -> Interval:
        return bootstrap(lambda rows: float(values[rows].mean()), [ONE_STRATUM], seed=seed)

    assert measured(3) == measured(3)
    assert measured(3) != measured(4)


def test_each_stratum_keeps_its_number_of_photographs() -> None:
    strata = np.array([0] * 50 + [1] * 3)
    seen = set()

    def count(rows: np.ndarray) -> float:
        seen.add(int((strata[rows] == 1).sum()))
        return 0.0

    bootstrap(count, [strata], seed=0, resamples=50)
    assert seen == {3}


def test_the_value_lies_in_its_interval_even_at_the_end_of_the_range() -> None:
    right = np.ones(20)
    found = bootstrap(lambda rows: float(right[rows].mean()), [np.zeros(20, np.int64)], seed=0)
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
    assert not Interval(0.0, -0.1, 0.2).sure
    assert Interval(0.1, 0.05, 0.2).sure
    assert Interval(-0.1, -0.2, -0.05).sure
    assert not any(each.sure for each in (Interval(0.1, 0.0, 0.2), Interval(-0.1, -0.2, 0.0)))
    assert bootstrap(lambda _rows: 0.7, [np.zeros(1, np.int64)], seed=0, resamples=5).pair() == [0.7, 0.7]


def test_several_figures_share_their_resamples() -> None:
    values = np.random.default_rng(4).normal(0.0, 1.0, 60)
    both = bootstrap_all(
        lambda rows: np.array([values[rows].mean(), -values[rows].mean()]), [ONE_STRATUM], seed=5, resamples=200
    )
    assert both[0].low == pytest.approx(-both[1].high)
    assert both[0] == bootstrap(lambda rows: float(values[rows].mean()), [ONE_STRATUM], seed=5, resamples=200)


def test_a_figure_that_some_resamples_cannot_tell_is_measured_on_the_others() -> None:
    rare = np.array([1.0] + [np.nan] * 5)

    def mean_of_the_rare(rows: np.ndarray) -> np.ndarray:
        told = rare[rows][~np.isnan(rare[rows])]
        return np.array([told.mean() if len(told) else np.nan, np.nan])

    first, second = bootstrap_all(mean_of_the_rare, [np.zeros(6, np.int64)], seed=0, resamples=100)
    assert (first.low, first.high) == (1.0, 1.0)
    assert np.isnan(second.value)
    assert np.isnan(second.low)


@pytest.mark.parametrize(("hits", "photos"), [(0, 131), (131, 131), (119, 131), (1, 3), (0, 1)])
def test_a_share_has_wilsons_interval_and_a_width_at_its_ends(hits: int, photos: int) -> None:
    found = share_of(hits, photos)
    expected = stats.binomtest(hits, photos).proportion_ci(method="wilson")
    assert found.pair() == pytest.approx([expected.low, expected.high], abs=1e-9)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.high - found.low > 0.02


def test_a_share_of_none_and_of_all_ends_there_whatever_the_last_digit_says() -> None:
    for photos in range(1, 200):
        assert (share_of(0, photos).low, share_of(photos, photos).high) == (0.0, 1.0)


def test_of_no_photographs_there_is_no_share() -> None:
    assert np.isnan(share_of(0, 0).pair()).all()


def test_percentiles_are_turned_round_the_value_and_keep_it() -> None:
    assert reflected(Interval(0.10, 0.08, 0.16)).pair() == pytest.approx([0.04, 0.12])
    assert reflected(Interval(0.02, 0.05, 0.09)).pair() == pytest.approx([-0.05, 0.02])
    assert of_calibration_error(Interval(0.02, 0.05, 0.09)).pair() == pytest.approx([0.0, 0.02])
    assert of_calibration_error(Interval(0.05, 0.04, 0.06)).pair() == pytest.approx([0.04, 0.06])
    assert of_calibration_error(Interval(0.06, 0.06, 0.15)).pair() == pytest.approx([0.0, 0.06])
    assert of_calibration_error(Interval(0.20, 0.19, 0.24), by_luck=0.19).pair() == pytest.approx([0.16, 0.21])
    assert of_calibration_error(Interval(0.20, 0.19, 0.24), by_luck=0.20).low == 0.0
    assert of_calibration_error(Interval(0.70, 0.30, 0.75)).pair() == pytest.approx([0.65, 1.0])  # no error is above 1


@pytest.mark.parametrize("too_much", [0.0, 0.05, 0.1], ids=["means what it says", "5 points", "10 points too much"])
def test_the_interval_of_a_calibration_error_holds_the_truth_of_a_known_model(too_much: float) -> None:
    # What it says, and how often it is right: so its true error is known, bin by bin.
    said = np.random.default_rng(0).beta(6.0, 1.0, 100_000).clip(0.2, 1.0)
    bin_of = np.ceil(said * metrics.ECE_BINS)
    gaps = np.bincount(bin_of.astype(int), weights=said - (said - too_much).clip(0.0))
    truth = float(gaps.sum() / len(said))
    held = {"percentiles": 0, "corrected": 0}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        own = rng.choice(said, 131)
        right = rng.random(131) < own - too_much
        percentiles = bootstrap(
            lambda rows, c=own, r=right: metrics.confidence_error(c[rows], r[rows]),
            [np.zeros(131, np.intp)],
            seed=seed,
            resamples=200,
        )
        luck = metrics.luck_of_calibration(own, percentiles.value, seed=seed, draws=200)
        corrected = of_calibration_error(percentiles, by_luck=luck.high)
        held["percentiles"] += percentiles.low <= truth <= percentiles.high
        held["corrected"] += corrected.low <= truth <= corrected.high
    # A bootstrap of 131 photographs falls a little short of 95 %: of 1,500 draws, 97, 90 and 90 % were held; by
    # percentiles 0, 25 and 81 %.
    assert held["corrected"] >= 0.85 * 150
    assert held["corrected"] > held["percentiles"] + 5


def of_photographs(values: np.ndarray, strata: list[np.ndarray], *, seed: int, resamples: int) -> list[float]:
    """Percentiles of a sum of means, photographs drawn one by one: what intervals were before there were groups."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        sets = []
        for labels in strata:
            members = [np.flatnonzero(labels == stratum) for stratum in np.unique(labels)]
            sets.append(np.concatenate([rows[rng.integers(0, len(rows), len(rows))] for rows in members]))
        drawn.append(sum(float(values[rows].mean()) for rows in sets))
    tail = (1.0 - LEVEL) / 2.0
    return [float(end) for end in np.quantile(drawn, [tail, 1.0 - tail])]


def test_where_each_photograph_is_its_own_group_figures_are_those_of_photographs_bit_for_bit() -> None:
    rng = np.random.default_rng(7)
    values, labels = rng.normal(0.0, 1.0, 40), rng.integers(0, 4, 40)
    strata, own = [labels, np.zeros(25, np.int64)], [rng.permutation(40), None]
    found = bootstrap(
        lambda a, b: float(values[a].mean()) + float(values[b].mean()), strata, seed=3, groups=own, resamples=200
    )
    assert found.pair() == of_photographs(values, strata, seed=3, resamples=200)
    for hits, photos in ((0, 131), (119, 131), (3, 3)):
        assert share_of(hits, photos, groups=rng.permutation(photos)) == share_of(hits, photos)
    said = rng.uniform(0.3, 1.0, 40)
    alone, grouped = (metrics.luck_of_calibration(said, 0.1, seed=0, draws=50, groups=each) for each in (None, own[0]))
    assert alone == grouped
    rows = np.concatenate([np.flatnonzero(labels == label)[::-1] for label in range(4)])
    weight = 1.0 / (np.bincount(labels)[labels] * 4)
    assert np.array_equal(metrics.balanced_weights(labels, rows), np.bincount(rows, minlength=40) * weight)


def test_groups_are_drawn_whole_and_each_class_keeps_its_number_of_them() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    groups = np.array([5, 5, 2, 5, 9, 4, 4, 1, 1])
    sizes = {5: 3, 2: 1, 9: 1, 4: 2, 1: 2}
    drawn = []

    def looked_at(rows: np.ndarray) -> float:
        counts = np.bincount(groups[rows], minlength=10)
        assert all(counts[group] % size == 0 for group, size in sizes.items())
        drawn.append([sum(counts[group] // sizes[group] for group in own) for own in ((5, 2), (9, 4, 1))])
        return 0.0

    bootstrap(looked_at, [labels], seed=0, groups=[groups], resamples=60)
    assert drawn == [[2, 3]] * 61


def test_copies_of_photographs_make_no_interval_narrower() -> None:
    labels = np.repeat(np.arange(6), 10)
    predicted = np.where(np.random.default_rng(0).random(60) < 0.85, labels, (labels + 1) % 6)
    groups = np.repeat(np.arange(60), 4)
    truth, answered = np.repeat(labels, 4), np.repeat(predicted, 4)
    once, four_times = (
        bootstrap(
            lambda rows, t=t, p=p: metrics.balanced_accuracy(t[rows], p[rows]), [t], seed=0, groups=[g], resamples=200
        )
        for t, p, g in ((labels, predicted, None), (truth, answered, groups))
    )
    assert four_times.pair() == pytest.approx(once.pair())
    hits = int((labels == predicted).sum())
    assert share_of(4 * hits, 240, groups=groups).pair() == pytest.approx(share_of(hits, 60).pair())


def test_groups_of_unlike_sizes_count_as_fewer_and_small_classes_weigh_more() -> None:
    assert effective(np.arange(60)) == 60.0
    assert effective(np.repeat(np.arange(12), 5)) == pytest.approx(12.0)
    # Sixty photographs of one object and sixty others: nearly half of the weight is one observation's.
    assert effective(np.concatenate([np.zeros(60, np.int64), np.arange(1, 61)])) == pytest.approx(120**2 / 3660)
    # A mean over classes of 2 and of 8: 4 / (1/2 + 1/8).
    assert effective(np.arange(10), np.array([0] * 2 + [1] * 8)) == pytest.approx(6.4)


def test_an_interval_over_objects_of_several_views_holds_the_truth_as_often_as_it_says() -> None:
    """Six classes of twelve objects with four views, whose views agree: an object is easy or hard."""
    easy, hard = 2.0, 0.35
    truth = easy / (easy + hard)
    labels, groups = np.repeat(np.arange(6), 48), np.repeat(np.arange(72), 4)
    held = {"photographs": 0, "groups": 0, "share": 0}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        right = (rng.random((72, 4)) < rng.beta(easy, hard, 72)[:, None]).ravel()
        for name, own in (("photographs", None), ("groups", groups)):
            found = bootstrap(
                lambda rows, r=right: float(r @ metrics.balanced_weights(labels, rows)),
                [labels],
                seed=seed,
                groups=[own],
                resamples=200,
            )
            held[name] += found.low <= truth <= found.high
        found = share_of(int(right.sum()), len(right), groups=groups)
        held["share"] += found.low <= truth <= found.high
    assert held["photographs"] < 88
    assert held["groups"] >= 90
    assert held["share"] >= 95


def test_a_figure_at_the_end_of_its_range_has_room_for_luck_and_others_stay() -> None:
    perfect = with_room(Interval(1.0, 1.0, 1.0), 60.0)
    assert perfect == share_of(60, 60)
    assert with_room(Interval(1.0 - 1e-15, 1.0 - 1e-15, 1.0), 60.0).low == pytest.approx(perfect.low)
    assert with_room(Interval(0.0, 0.0, 0.0), 60.0) == share_of(0, 60)
    for found in (Interval(0.98, 0.95, 1.0), Interval(0.5, 0.5, 0.5)):
        assert with_room(found, 60.0) is found
    assert np.isnan(with_room(Interval(np.nan, np.nan, np.nan), 60.0).value)


def test_classes_of_one_photograph_each_give_no_figure_an_interval_without_width() -> None:
    labels = np.arange(6)
    right = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    loss = np.array([0.1, 0.2, 0.1, 0.4, 0.2, 1.3])
    balanced, mean = bootstrap_all(
        lambda rows: np.array([right @ metrics.balanced_weights(labels, rows), loss[rows].mean()]), [labels], seed=0
    )
    assert balanced.high - balanced.low > 0.3
    assert mean.low < mean.value < mean.high
    # One alone is drawn with the class of fewest photographs, and the others keep their numbers.
    strata, counts = np.array([0] * 6 + [1] + [2] * 4), []
    bootstrap(lambda rows: counts.append(np.bincount(strata[rows], minlength=3)) or 0.0, [strata], seed=0)
    drawn = np.array(counts)
    assert (drawn[:, 0] == 6).all()
    assert (drawn[:, 1:].sum(axis=1) == 5).all()
    assert set(drawn[:, 1]) > {0, 1, 2}


@pytest.mark.parametrize("sizes", [(1, 1, 20, 20), (2,) * 6, (3, 4, 20, 20)], ids=str)
def test_the_interval_of_a_balanced_accuracy_holds_the_truth_where_a_class_has_few_photographs(
    sizes: tuple[int, ...],
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    held = {"percentiles": 0, "with room": 0}
    for seed in range(150):
        right = (np.random.default_rng(seed).random(len(labels)) < 0.9).astype(np.float64)
        found = bootstrap(
            lambda rows, r=right: float(r @ metrics.balanced_weights(labels, rows)), [labels], seed=seed, resamples=200
        )
        roomy = of_class_mean(found, np.arange(len(labels)), labels)
        held["percentiles"] += found.low <= 0.9 <= found.high
        held["with room"] += roomy.low <= 0.9 <= roomy.high
    assert held["with room"] >= 0.9 * 150
    assert held["with room"] > held["percentiles"] + 15


def test_a_few_photographs_that_are_all_alike_leave_room_and_many_stay_as_they_are() -> None:
    thin = Interval(0.9, 0.89, 0.91)
    assert with_room(thin, 60.0, fewest=10.0) is thin
    assert with_room(thin, 60.0, fewest=9.0).pair() == share_of(54, 60).pair()
    assert with_room(thin, 3.0).high - with_room(thin, 3.0).low > 0.5
    wide = Interval(0.9, 0.2, 0.999)
    assert with_room(wide, 60.0, fewest=9.0) == wide
    # Of a mean over classes the smallest one decides.
    assert of_class_mean(thin, np.arange(30), np.repeat([0, 1], [10, 20])) is thin
    roomy = of_class_mean(thin, np.arange(30), np.repeat([0, 1], [9, 21]))
    assert roomy == with_room(thin, 4 / (1 / 9 + 1 / 21), fewest=9.0)
    assert roomy.low < thin.low
    assert roomy.high > thin.high


def test_the_interval_of_a_difference_is_that_of_bonett_and_price_where_percentiles_are_those_of_a_normal() -> None:
    """40 photographs: 6 answered rightly by the one alone, 1 by the other alone."""
    z, found = stats.norm.ppf(0.975), 5 / 40
    half = z * np.sqrt((7 / 40 - found**2) / 40)
    share, other = 7 / 42, 2 / 42
    wanted = z * np.sqrt((share + other - (share - other) ** 2) / 42)
    corrected = of_difference(Interval(found, found - half, found + half), 40)
    assert corrected.value == found
    assert corrected.pair() == pytest.approx([share - other - wanted, share - other + wanted])


@pytest.mark.parametrize("photos", [24, 100, 131])
def test_a_model_that_loses_two_points_is_hardly_ever_shown_to_lose_less(photos: int) -> None:
    """One answers nine in ten rightly; the other all of these but two in a hundred of all photographs."""
    shown = {"percentiles": 0, "corrected": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        lost = -((rng.random(photos) < 0.02).astype(np.float64))
        found = bootstrap(
            lambda rows, d=lost: float(d[rows].mean()), [np.zeros(photos, np.int64)], seed=seed, resamples=100
        )
        shown["percentiles"] += found.low > -0.02
        shown["corrected"] += of_difference(found, photos).low > -0.02
    assert shown["corrected"] <= 0.05 * 200
    assert shown["percentiles"] >= 0.05 * 200


def test_the_interval_of_a_difference_agrees_with_bonett_and_price_where_resamples_are_normal() -> None:
    """900 photographs: 50 answered rightly by the one alone, 30 by the other alone."""
    values = np.array([1.0] * 50 + [-1.0] * 30 + [0.0] * 820)
    found = of_difference(
        bootstrap(lambda rows: float(values[rows].mean()), [np.zeros(900, np.int64)], seed=0, resamples=4000), 900
    )
    share, other = 51 / 902, 31 / 902
    half = 1.959963984540054 * np.sqrt((share + other - (share - other) ** 2) / 902)
    assert found.pair() == pytest.approx([share - other - half, share - other + half], abs=0.0012)
    all_three = of_difference(Interval(1.0, 1.0, 1.0), 3)
    assert all_three.low < 0.0  # three of three may be luck: one time in four by a test of signs
    assert all_three.high == 1.0


def test_the_interval_of_a_nearly_perfect_model_holds_the_truth_as_often_as_it_says() -> None:
    labels = np.repeat(np.arange(6), 10)
    held = {"percentiles": 0, "with room": 0}
    for seed in range(150):
        right = (np.random.default_rng(seed).random(60) < 0.98).astype(np.float64)
        found = bootstrap(lambda rows, r=right: float(r[rows].mean()), [labels], seed=seed, resamples=100)
        roomy = with_room(found, effective(np.arange(60), labels))
        held["percentiles"] += found.low <= 0.98 <= found.high
        held["with room"] += roomy.low <= 0.98 <= roomy.high
    assert held["percentiles"] < 0.8 * 150
    assert held["with room"] >= 0.93 * 150


def test_a_figure_that_no_resample_tells_again_has_no_width_and_one_that_is_none_no_ends() -> None:
    """Of a figure that can be told of the photographs as they are, and of no draw of them."""
    whole = np.arange(60)

    def measure(rows: np.ndarray) -> np.ndarray:
        as_they_are = np.array_equal(rows, whole)
        return np.array([0.7 if as_they_are else np.nan, np.nan if as_they_are else 0.7])

    alone, none = bootstrap_all(measure, [ONE_STRATUM], seed=0, resamples=50)

    assert alone == Interval(0.7, 0.7, 0.7)
    assert np.isnan([none.value, none.low, none.high]).all()
