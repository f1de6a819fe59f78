"""Agreement by hand and by a second implementation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from console.review.agreement import cohen, concord, sway, wilson


def test_wilson_s_interval_is_the_published_one() -> None:
    # Newcombe (1998), table I: 81 of 263.
    share = wilson(81, 263)
    assert (share.low, share.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


def test_the_difference_s_interval_is_the_published_one() -> None:
    # Newcombe (1998), table II, case (a): 56 of 70 against 48 of 80.
    found = sway(blind_agreed=48, blind_n=80, seen_agreed=56, seen_n=70)
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_fleiss_s_kappa_is_the_one_worked_out_by_hand() -> None:
    # Ten cases of fourteen raters over five categories: kappa 0.210.
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    cases = [[str(kind) for kind, count in enumerate(row) for _ in range(count)] for row in table]
    found = concord(cases)
    assert found.kappa == pytest.approx(0.210, abs=5e-4)
    assert (found.cases, found.agreed) == (10, 1)


def test_of_two_raters_in_either_order_it_is_cohen_s_kappa() -> None:
    chance = np.random.default_rng(7)
    first = chance.integers(0, 3, 200)
    second = np.where(chance.random(200) < 0.7, first, chance.integers(0, 3, 200))
    found = concord([[str(a), str(b)] for a, b in zip(first, second, strict=True)])
    both_ways = cohen_kappa_score(np.r_[first, second], np.r_[second, first])
    assert found.kappa == pytest.approx(both_ways)


def test_the_interval_of_kappa_covers_what_it_should() -> None:
    # Two raters who each name the truth with probability 0.8 among three equal kinds: pairs agree in
    # 0.8² + 2 · 0.1² = 0.66 of the cases, chance in a third, so kappa is 0.49.
    chance = np.random.default_rng(11)
    covered = 0
    for _ in range(400):
        truth = chance.integers(0, 3, 150)
        said = [np.where(chance.random(150) < 0.7, truth, chance.integers(0, 3, 150)) for _ in range(2)]
        found = concord([[str(a), str(b)] for a, b in zip(*said, strict=True)])
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.49 <= found.high
    assert 0.93 <= covered / 400 <= 0.97


def test_where_nothing_can_be_told_nothing_is() -> None:
    assert concord([]).kappa is None
    assert concord([["a", "a"], ["a", "a"]]).kappa is None  # chance explains it all
    assert concord([["a", "b"]]).low is None
    with pytest.raises(ValueError, match="two opinions"):
        concord([["a"]])


def test_of_two_certain_raters_cohen_s_kappa_is_the_one_of_another_implementation() -> None:
    # Cohen (1960), by hand: 45 of 50 said a by both or b by both, chance 0.5: kappa 0.8.
    table = [("a", "a")] * 22 + [("b", "b")] * 23 + [("a", "b")] * 3 + [("b", "a")] * 2
    assert cohen(table).kappa == pytest.approx(0.8)
    chance = np.random.default_rng(5)
    first = chance.integers(0, 4, 120)
    second = np.where(chance.random(120) < 0.6, first, chance.choice(4, 120, p=[0.7, 0.1, 0.1, 0.1]))
    cases = [(str(a), str(b)) for a, b in zip(first, second, strict=True)]
    found = cohen(cases)
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second))
    # The interval from first principles: each case left out by the other implementation.
    without = [cohen_kappa_score(np.delete(first, i), np.delete(second, i)) for i in range(120)]
    error = np.sqrt(119 / 120 * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert found.low == pytest.approx(found.kappa - 1.959963984540054 * error)


def test_a_pair_of_which_nothing_can_be_told_has_no_kappa() -> None:
    assert cohen([]).kappa is None
    assert cohen([("a", "a"), ("a", "a")]).kappa is None
    assert cohen([("a", "b")]).low is None
