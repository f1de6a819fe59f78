from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.plots import nice_ceiling, quantile, ribbon, stacked_bars


@pytest.mark.parametrize(
    ("value", "ceiling"), [(0, 1), (1, 1), (1.5, 2), (3, 5), (5, 5), (24, 25), (26, 50), (99, 100), (1001, 2000)]
)
def test_an_axis_ends_at_a_round_number(value: float, ceiling: float) -> None:
    assert nice_ceiling(value) == ceiling


def test_bars_stand_on_each_other_from_the_bottom() -> None:
    plot = stacked_bars([{"a": 3, "b": 1}, {"a": 0, "b": 0}], texts=["x", "y"], labels=["l"], label_width=100)
    full, empty = plot.bars
    assert [(piece.kind, piece.y, piece.height) for piece in full.pieces] == [("a", 40, 60), ("b", 20, 20)]
    assert empty.pieces == ()
    assert (full.x, full.width, empty.x) == (0, 40, 50)
    assert plot.ticks == ("5", "2.5", "0")


def test_a_ribbon_is_interrupted_where_there_is_nothing() -> None:
    drawn = ribbon([(0.2, 0.5, 0.8), None, (0, 0, 1)], texts=["x", "", "z"], labels=[], label_width=1)
    assert drawn.line == "M16.67 50 M83.33 100"
    assert drawn.band == "M16.67 20L16.67 80Z M83.33 0L83.33 100Z"
    assert [text for _x, _y, text in drawn.points] == ["x", "z"]


def test_a_quantile_worked_out_by_hand() -> None:
    # Ten values in the third of four quarters: its middle is their median.
    assert quantile([0, 0, 10, 0], 0.5) == 0.625
    assert quantile([4, 0, 0, 4], 0.5) == 0.25
    with pytest.raises(ValueError, match="nothing"):
        quantile([0, 0], 0.5)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any), st.sampled_from([0.1, 0.5, 0.9]))
def test_a_quantile_is_within_a_bin_of_the_exact_one(counts: list[int], ratio: float) -> None:
    width = 1 / len(counts)
    values = np.repeat((np.arange(len(counts)) + 0.5) * width, counts)
    exact = np.quantile(values, ratio, method="inverted_cdf")
    assert abs(quantile(counts, ratio) - exact) <= width / 2 + 1e-9
