"""What is said of the levels above the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import DecisionLimits, Level, decide
from training.evaluation.levels import level_name, level_rows
from training.served.above import Above, above


@dataclass(frozen=True, slots=True)
class Halves:
    """Two classes to the left, one to the right."""

    id: str = "half"
    group_of: tuple[int, ...] = (0, 0, 1)


def test_where_no_sets_are_promised_none_is_said_to_miss_the_truth() -> None:
    probabilities, labels = np.eye(3), np.arange(3)

    (none,) = level_rows([Halves()], [Above(None, ((),))] * 3, probabilities, labels, np.arange(3))
    (given,) = level_rows([Halves()], [Above(0, ((0,),))] * 3, probabilities, labels, np.arange(3))

    assert (none.set_coverage, none.set_size, none.answered_accuracy) == (None, None, None)
    assert none.document()["prediction_set_coverage"] is None
    assert none.document()["intervals"]["prediction_set_coverage"] is None
    assert none.accuracy.value == 1.0
    assert given.set_coverage is not None
    assert (given.set_coverage.value, given.set_size) == (2 / 3, 1.0)
    assert given.document()["prediction_set_coverage"] == 2 / 3
    assert given.document()["intervals"]["prediction_set_coverage"] == given.set_coverage.pair()


# class 0 1 2; what is said of each photograph, and what it shows
PROBABILITIES = np.array([[0.3, 0.3, 0.4], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05], [0.05, 0.05, 0.9], [0.9, 0.05, 0.05]])
LABELS = np.array([0, 0, 0, 2, 2])
SAID = [Above(level, ((0,), (0,))) for level in (0, 0, None, 1, None)]
LEVELS = [Halves(), Halves("other", (0, 1, 1))]


def test_a_level_counts_all_photographs_and_those_that_back_off_to_it_by_hand() -> None:
    half, other = level_rows(LEVELS, SAID, PROBABILITIES, LABELS, np.arange(5))

    assert (half.accuracy.value, half.answered, half.answered_accuracy) == (3 / 5, 2, 1 / 2)
    assert (half.groups, other.groups) == (2, 2)
    assert half.wrong.value == 1 / 5  # the last one is wrong and stands elsewhere
    assert (other.id, other.answered, other.answered_accuracy, other.wrong.value) == ("other", 1, 1.0, 0.0)
    assert [level_name(said, LEVELS) for said in SAID] == ["half", "half", "", "other", ""]


def test_photographs_of_one_object_make_every_figure_of_a_level_less_sure() -> None:
    (alone, _), (together, _) = (
        level_rows(LEVELS, SAID, PROBABILITIES, LABELS, groups) for groups in (np.arange(5), np.zeros(5, np.intp))
    )

    for one, other in (
        (alone.accuracy, together.accuracy),
        (alone.set_coverage, together.set_coverage),
        (alone.wrong, together.wrong),
    ):
        assert one is not None
        assert other is not None
        assert one.value == other.value
        assert other.high - other.low > one.high - one.low


def test_only_an_unsure_answer_backs_off_and_a_level_has_sets_of_its_own_limit() -> None:
    limits = DecisionLimits(0.5, 0.1, (), set_coverage=0.9, set_probability_min=0.3)
    level = Level("half", (0, 0, 1), 0.3)

    def said(*probabilities: float, level: Level = level) -> Above:
        return above(decide(probabilities, {}, limits), probabilities, {}, limits, [level])

    assert decide((0.9, 0.05, 0.05), {}, limits).verdict == words.VERDICT_IN_DOMAIN
    assert said(0.9, 0.05, 0.05) == Above(None, ((0,),))
    assert said(0.45, 0.4, 0.15) == Above(0, ((0,),))
    assert said(0.45, 0.4, 0.15, level=Level("half", (0, 0, 1), 0.1)) == Above(None, ((0, 1),))
