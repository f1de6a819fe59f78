"""Several views into one: worked out by hand, and by another way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fusion import ViewOutput, fuse


def view(*probabilities: float, score: float = 1.0) -> ViewOutput:
    return ViewOutput(np.array(probabilities), {"mahalanobis": score})


def test_two_equal_shares_by_hand() -> None:
    fused = fuse([view(0.8, 0.2), view(0.5, 0.5, score=3.0)], [1, 1])

    # sqrt(.8*.5) : sqrt(.2*.5) = .6325 : .3162 = 2 : 1
    assert fused.probabilities == pytest.approx([2 / 3, 1 / 3])
    assert fused.scores == {"mahalanobis": 2.0}
    assert fused.shares == (0.5, 0.5)


def test_a_view_counts_by_its_share_in_probabilities_and_scores_alike() -> None:
    fused = fuse([view(0.8, 0.2), view(0.5, 0.5, score=3.0)], [3, 1])

    # 3/4 and 1/4: .8 ** .75 * .5 ** .25 : .2 ** .75 * .5 ** .25 = 4 ** .75 : 1
    assert fused.probabilities == pytest.approx([4**0.75 / (4**0.75 + 1), 1 / (4**0.75 + 1)])
    assert fused.scores == {"mahalanobis": 1.5}
    assert fused.shares == (0.75, 0.25)


def test_views_that_each_rule_out_what_the_other_sees_still_add_up() -> None:
    """Exactly 0, as a softmax of float32 says it."""
    fused = fuse([view(1.0, 0.0), view(0.0, 1.0)], [1, 1])

    assert fused.probabilities == pytest.approx([0.5, 0.5])
    assert fused.views_disagree


rows = st.lists(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), min_size=1, max_size=8)


@given(rows, st.lists(st.floats(0.001, 1), min_size=8, max_size=8))
def test_it_is_the_normalised_weighted_geometric_mean(raw: Sequence[Sequence[float]], weights: list[float]) -> None:
    table = np.array(raw) / np.array(raw).sum(axis=1, keepdims=True)
    weights = weights[: len(table)]

    fused = fuse([view(*row) for row in table], weights)

    wanted = np.prod(table ** (np.array(weights) / sum(weights))[:, np.newaxis], axis=0)
    assert fused.probabilities == pytest.approx(wanted / wanted.sum(), abs=1e-9)
    assert fused.probabilities.sum() == pytest.approx(1)
    assert sum(fused.shares) == pytest.approx(1)


def test_one_view_is_passed_on_as_it_is() -> None:
    assert fuse([view(1.0, 0.0, score=2.0)], [0.001]).probabilities.tolist() == [1.0, 0.0]


def test_repeating_a_view_changes_nothing() -> None:
    assert fuse([view(0.7, 0.3)] * 5, [1] * 5).probabilities == pytest.approx([0.7, 0.3])


def test_a_probability_of_zero_is_strong_evidence_and_no_nan() -> None:
    fused = fuse([view(1.0, 0.0), view(0.5, 0.5)], [1, 1])

    assert fused.probabilities[0] > 0.999
    assert np.isfinite(fused.probabilities).all()


@pytest.mark.parametrize(
    ("views", "disagree"),
    [
        ([view(0.97, 0.03, 0.0), view(0.02, 0.98, 0.0)], True),
        ([view(0.97, 0.03, 0.0), view(0.9, 0.1, 0.0), view(0.02, 0.98, 0.0)], True),
        ([view(0.97, 0.03, 0.0), view(0.3, 0.7, 0.0)], False),  # the second does not exclude the first's
        ([view(0.97, 0.03, 0.0), view(0.02, 0.55, 0.43)], False),  # the second is unsure of its own
        ([view(0.55, 0.4, 0.05), view(0.4, 0.55, 0.05)], False),
        ([view(0.97, 0.03, 0.0), view(0.97, 0.03, 0.0)], False),
        ([view(0.6, 0.05, 0.35), view(0.05, 0.6, 0.35)], True),  # just sure, and all but excluded
        ([view(0.6, 0.06, 0.34), view(0.06, 0.6, 0.34)], False),  # and not quite
        ([view(0.97, 0.03, 0.0)], False),
    ],
)
def test_views_disagree_when_each_is_sure_and_excludes_the_other(views: list[ViewOutput], disagree: bool) -> None:
    assert fuse(views, [1] * len(views)).views_disagree is disagree


def test_no_view_is_no_answer() -> None:
    with pytest.raises(ValueError, match="at least one view"):
        fuse([], [])
