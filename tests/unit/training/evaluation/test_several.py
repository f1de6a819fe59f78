"""Several differences: what luck shows among many is not called more than luck."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation import several
from training.statistics.intervals import Interval, bootstrap_all


def test_holms_correction_worked_out_by_hand() -> None:
    assert several.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert several.holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert several.holm({}) == {}


@given(st.floats(-1.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_one_difference_alone_is_held_against_its_own_interval(value: float, below: float, above: float) -> None:
    found = Interval(value, value - below, value + above)
    if min(abs(found.low), abs(found.high)) > 1e-9:  # else it is a matter of rounding
        assert (several.corrected({"it": found})["it"] < several.ALPHA) == (found.sure and value != 0.0)


def test_what_cannot_be_told_and_what_is_nothing_is_luck_and_what_never_varies_is_not() -> None:
    nan = float("nan")
    assert several.p_value(Interval(nan, nan, nan)) == 1.0
    assert several.p_value(Interval(0.0, 0.0, 0.0)) == 1.0
    assert several.p_value(Interval(-0.5, -0.5, -0.5)) == 0.0


def test_of_models_that_are_equal_few_tables_name_one() -> None:
    """Six that answer as well as the first one, five figures of each, 100 photographs: thirty differences a table."""
    rng = np.random.default_rng(0)
    alone, together = [], []
    for table in range(60):
        hard = rng.random(100) < 0.3
        right = rng.random((7, 5, 100)) < np.where(hard, 0.5, 0.95)
        gaps = (right[1:].astype(float) - right[0]).reshape(30, 100)

        def measured(rows: np.ndarray, gaps: np.ndarray = gaps) -> np.ndarray:
            return np.asarray(gaps[:, rows].mean(axis=1))

        found = bootstrap_all(measured, [np.zeros(100, np.intp)], seed=table, resamples=400)
        alone.append(any(each.sure for each in found))
        together.append(min(several.corrected(dict(enumerate(found))).values()) < several.ALPHA)
    assert np.mean(alone) > 0.5
    assert np.mean(together) <= 0.1
