"""What is said of the levels above the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.evaluation.levels import Above, level_rows


@dataclass(frozen=True, slots=True)
class Halves:
    """Two classes to the left, one to the right."""

    id: str = "half"
    group_of: tuple[int, ...] = (0, 0, 1)


def test_where_no_sets_are_promised_none_is_said_to_miss_the_truth() -> None:
    probabilities, labels = np.eye(3), np.arange(3)

    (none,) = level_rows([Halves()], [Above(None, ((),))] * 3, probabilities, labels, np.arange(3))
    (given,) = level_rows([Halves()], [Above(0, ((0,),))] * 3, probabilities, labels, np.arange(3))

    assert (none.set_coverage, none.set_size) == (None, None)
    assert none.document()["prediction_set_coverage"] is None
    assert none.document()["intervals"]["prediction_set_coverage"] is None
    assert none.accuracy.value == 1.0
    assert given.set_coverage is not None
    assert (given.set_coverage.value, given.set_size) == (2 / 3, 1.0)
