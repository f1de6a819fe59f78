"""Borders keep their promise on new photographs, and move to where given strangers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from training.ood.thresholds import _best_border, limits_of

NOTHING = np.zeros(0)


def test_the_promised_share_of_new_photographs_lies_beyond_a_border() -> None:
    """10,000 data sets of 20 photographs each: one new one in ten beyond unsure, one in fifty beyond out."""
    rng = np.random.default_rng(0)
    beyond_unsure, beyond_out = [], []
    for _ in range(4000):
        known, new = rng.normal(5.0, 2.0, 20), rng.normal(5.0, 2.0)
        limits = limits_of("distance", known, NOTHING, independent=20, unsure_ratio=0.1, out_ratio=0.02)
        beyond_unsure.append(new >= limits.unsure_at)
        beyond_out.append(new >= limits.out_at)

    assert np.mean(beyond_unsure) == pytest.approx(0.1, abs=0.015)
    assert np.mean(beyond_out) == pytest.approx(0.02, abs=0.007)


def test_an_object_with_most_of_the_photographs_does_not_draw_the_border_for_the_others() -> None:
    """Of eleven objects whose photographs resemble each other, one has fifty."""
    rng = np.random.default_rng(3)
    sizes = np.array([50, *[1] * 10])
    shares = (1.0 / sizes).repeat(sizes)
    passed: dict[str, list[float]] = {"objects": [], "photographs": []}
    for _ in range(300):
        known = (0.95 * rng.normal(size=11)).repeat(sizes) + 0.32 * rng.normal(size=60)
        for name, counted in (("objects", shares), ("photographs", None)):
            limits = limits_of(
                "distance", known, NOTHING, independent=11, unsure_ratio=0.1, out_ratio=0.02, shares=counted
            )
            passed[name].append(float(norm.sf(limits.out_at)))
    assert np.mean(passed["objects"]) == pytest.approx(0.02, abs=0.01)
    assert np.mean(passed["photographs"]) > 0.08


def test_what_a_score_counts_for_moves_the_border_that_strangers_teach_and_alike_is_as_ever() -> None:
    known, strangers = np.array([1.0, 1.1, 1.2, 4.0, 4.1, 4.2, 4.3]), np.array([3.0, 3.1, 6.0, 6.1])

    def out_at(shares: np.ndarray | None) -> float:
        ratios = {"unsure_ratio": 0.4, "out_ratio": 0.02}
        return limits_of("distance", known, strangers, independent=4, shares=shares, **ratios).out_at

    assert out_at(np.ones(7)) == pytest.approx(out_at(None))
    assert out_at(np.array([1.0, 1.0, 1.0, 0.25, 0.25, 0.25, 0.25])) < out_at(None)


def test_few_photographs_push_the_border_out() -> None:
    known = np.random.default_rng(1).normal(5.0, 2.0, 200)

    few = limits_of("distance", known, NOTHING, independent=5, unsure_ratio=0.1, out_ratio=0.02)
    many = limits_of("distance", known, NOTHING, independent=200, unsure_ratio=0.1, out_ratio=0.02)

    assert few.out_at > many.out_at
    assert few.typical == many.typical


def test_given_strangers_pull_the_border_to_where_they_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    known = rng.normal(5.0, 1.0, 50)
    near, far = rng.normal(8.5, 0.2, 30), rng.normal(50.0, 1.0, 30)

    with_near = limits_of("distance", known, near, independent=50, unsure_ratio=0.1, out_ratio=0.001)
    alone = limits_of("distance", known, NOTHING, independent=50, unsure_ratio=0.1, out_ratio=0.001)
    with_far = limits_of("distance", known, far, independent=50, unsure_ratio=0.1, out_ratio=0.001)

    assert known.max() < with_near.out_at < near.min()
    assert with_near.out_at < alone.out_at
    # However far the given ones are, others may be nearer: the border does not follow them.
    assert with_far.out_at < 10.0


def test_scores_of_either_sign_and_equal_scores_have_borders() -> None:
    equal = limits_of("distance", np.full(10, -0.25), NOTHING, independent=10, unsure_ratio=0.1, out_ratio=0.02)

    assert -0.25 == equal.typical < equal.unsure_at <= equal.out_at


@pytest.mark.parametrize("known", [np.zeros(0), np.array([1.0, np.nan]), np.array([1.0, np.inf])])
def test_borders_need_finite_scores(known: np.ndarray) -> None:
    with pytest.raises(ValueError, match="distance needs finite scores"):
        limits_of("distance", known, NOTHING, independent=2, unsure_ratio=0.1, out_ratio=0.02)


def bound(known: np.ndarray, ratio: float) -> float:
    """Hahn and Meeker 1991, section 4.7, by hand."""
    count = len(known)
    factor = student.ppf(1.0 - ratio, count - 1) * np.sqrt(1.0 + 1.0 / count)
    return float(known.mean() + factor * np.sqrt(((known - known.mean()) ** 2).sum() / (count - 1)))


@pytest.mark.parametrize(("strangers", "ratio"), [(0.0, 0.05), (1000.0, 0.0005)])
def test_strangers_among_the_known_or_far_away_move_the_border_to_its_ends(strangers: float, ratio: float) -> None:
    known = np.linspace(-2.0, 2.0, 21)

    limits = limits_of("distance", known, np.full(9, strangers), independent=21, unsure_ratio=0.1, out_ratio=0.02)

    assert limits.out_at == pytest.approx(bound(known, ratio))


@pytest.mark.parametrize(
    ("strangers", "ratio"),
    [
        ([4.0, *[7.0] * 99], 0.0005),  # a hundredth of these is less than one known of twenty-one
        ([4.0, 7.0], 0.05),  # half of these is more
    ],
)
def test_a_known_photograph_and_a_stranger_weigh_as_the_shares_that_they_are(
    strangers: list[float], ratio: float
) -> None:
    known = np.append(np.linspace(-1.0, 1.0, 20), 6.0)

    limits = limits_of("distance", known, np.array(strangers), independent=21, unsure_ratio=0.1, out_ratio=0.02)

    assert limits.out_at == pytest.approx(bound(known, ratio))


def test_a_border_stands_in_the_middle_between_known_and_strangers() -> None:
    known = np.linspace(-2.0, 2.0, 41)

    limits = limits_of("distance", known, np.array([2.6, 3.0]), independent=41, unsure_ratio=0.1, out_ratio=0.02)

    assert limits.out_at == pytest.approx(2.3)


@pytest.mark.parametrize("count", [2, 3, 30])
def test_scores_that_count_alike_have_the_borders_of_scores_alone(count: int) -> None:
    known = np.random.default_rng(4).normal(5.0, 2.0, count)
    ratios = {"unsure_ratio": 0.1, "out_ratio": 0.02}

    alone = limits_of("distance", known, NOTHING, independent=count, **ratios)

    assert alone.out_at == pytest.approx(bound(known, 0.02))
    assert limits_of("distance", known, NOTHING, independent=count, shares=np.full(count, 0.5), **ratios) == alone


def mistakes(border: float, known: np.ndarray, strangers: np.ndarray, counted: np.ndarray) -> float:
    """A score at the border is out, as verdicts have it."""
    return float(counted[known >= border].sum() / counted.sum() + np.mean(strangers < border))


@given(
    known=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.25, 1.0])), min_size=1, max_size=8),
    strangers=st.lists(st.integers(0, 9), min_size=1, max_size=8),
)
def test_no_border_makes_fewer_mistakes_than_the_one_that_strangers_teach(
    known: list[tuple[int, float]], strangers: list[int]
) -> None:
    scores, counted = np.array([float(each) for each, _ in known]), np.array([share for _, share in known])
    others = np.array(strangers, float)

    found = _best_border(scores, others, counted)

    between = np.sort(np.concatenate([scores, others]))
    least = min(mistakes(each, scores, others, counted) for each in (between[:-1] + between[1:]) / 2.0)
    assert mistakes(found, scores, others, counted) == pytest.approx(least)


def test_of_borders_that_are_as_good_the_middle_one_is_taken() -> None:
    known, strangers = np.array([0.0, 2.0, 4.0]), np.array([1.0, 3.0, 5.0])
    as_good = [0.5, 2.5, 4.5]
    assert len({mistakes(border, known, strangers, np.ones(3)) for border in as_good}) == 1
    assert _best_border(known, strangers, np.ones(3)) == 2.5
