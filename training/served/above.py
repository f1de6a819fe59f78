"""What is said of a photograph above the classes: where an unsure answer backs off to in the class tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import Decision, DecisionLimits, Level, at_level, prediction_set, sure_level


@dataclass(frozen=True, slots=True)
class Above:
    """What is said of one photograph above the classes."""

    level: int | None  # where its answer stands; None: the classes are sure, or no level is
    sets: tuple[tuple[int, ...], ...]  # for each level, the groups of its conformal set


def above(
    decision: Decision,
    probabilities: Sequence[float],
    scores: Mapping[str, float],
    limits: DecisionLimits,
    levels: Sequence[Level],
) -> Above:
    """decision: on the classes, by the same limits."""
    unsure = decision.verdict == words.VERDICT_UNSURE
    return Above(
        level=sure_level(probabilities, scores, limits, levels) if unsure else None,
        sets=tuple(prediction_set(level.of(probabilities), at_level(limits, level)) for level in levels),
    )
