"""How good answers above the classes are: how often an unsure one backs off, and how often that is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.served.above import Above
from training.statistics.intervals import Interval, share_of


class Grouping(Protocol):
    """A level as far as answers are counted at it: what belongs to its sets was decided when they were given."""

    @property
    def id(self) -> str: ...

    @property
    def group_of(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class LevelRow:
    """How good the answers at one level are. Shares, with 95 % intervals."""

    id: str
    groups: int
    accuracy: Interval  # of all photographs, were each answered at this level
    set_coverage: Interval | None  # None where no sets are promised
    set_size: float | None
    answered: int  # photographs whose answer backs off to this level
    answered_accuracy: float | None  # of those; None where there are none
    wrong: Interval  # of all photographs, those answered wrongly at this level: promised to be at most 1 - coverage

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {
            "groups": self.groups,
            "accuracy": self.accuracy.value,
            "prediction_set_coverage": None if self.set_coverage is None else self.set_coverage.value,
            "prediction_set_size": self.set_size,
            "answered": self.answered,
            "answered_accuracy": self.answered_accuracy,
            "wrong": self.wrong.value,
            "intervals": {
                "accuracy": self.accuracy.pair(),
                "prediction_set_coverage": None if self.set_coverage is None else self.set_coverage.pair(),
                "wrong": self.wrong.pair(),
            },
        }


def level_name(said: Above, levels: Sequence[Grouping]) -> str:
    """Of the level that an answer stands at; empty: the classes."""
    return "" if said.level is None else levels[said.level].id


def level_rows(
    levels: Sequence[Grouping],
    said: Sequence[Above],
    probabilities: NDArray[np.floating],
    labels: NDArray[np.intp],
    groups: NDArray[np.intp],
) -> tuple[LevelRow, ...]:
    """One for each level. probabilities [n, classes], calibrated; labels and groups of photographs [n]."""
    rows = []
    for number, level in enumerate(levels):
        group_of = np.array(level.group_of, np.intp)
        truth = group_of[labels]
        width = int(group_of.max()) + 1
        right = (probabilities @ np.eye(width)[group_of]).argmax(axis=1) == truth
        sets = [each.sets[number] for each in said]
        covered = np.array([group in chosen for group, chosen in zip(truth, sets, strict=True)])
        here = np.array([each.level == number for each in said])
        promised = any(sets)  # a set that is promised holds at least the best group

        rows.append(
            LevelRow(
                id=level.id,
                groups=width,
                accuracy=share_of(int(right.sum()), len(labels), groups=groups),
                set_coverage=share_of(int(covered.sum()), len(labels), groups=groups) if promised else None,
                set_size=float(np.mean([len(chosen) for chosen in sets])) if promised else None,
                answered=int(here.sum()),
                answered_accuracy=float(right[here].mean()) if here.any() else None,
                wrong=share_of(int((here & ~right).sum()), len(labels), groups=groups),
            )
        )
    return tuple(rows)
