"""The hard test of OOD detection: what a version says of a class that it never saw, each class in turn.

What is left out resembles the others, as an object of an unknown family does. A version for each class is as many fits
as there are classes, so beyond VERSIONS_MAX several are left out of one version together (decision 0248).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from training.data.errors import SplitImpossible
from training.data.folder import Folder, Photo
from training.data.splits import divide
from training.errors import DataTooSmall
from training.evaluation.crossvalidation import Fit, Groups, fit_on, labels_of, ratios_of
from training.fitting.features import Progress
from training.fitting.recipe import Recipe
from training.fitting.sight import Eyes, Outside, Sight
from training.side_by_side import side_by_side
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap, effective, with_room

VERSIONS_MAX: Final = 24  # each is one fit: 300 of them took a quarter of an hour (decision 0248)
_Told = TypeVar("_Told")


@dataclass(frozen=True, slots=True)
class Without:
    """A version that saw no photograph of some classes, nor any of one fold of the others."""

    fit: Fit
    known: NDArray[np.intp]  # rows of the folder: the photographs in that fold of the classes that it did see
    unseen: Mapping[str, NDArray[np.intp]]  # class that it did not see -> rows: those of the class


@dataclass(frozen=True, slots=True)
class Unseen:
    """OOD scores by such a version, and of which photographs."""

    known: NDArray[np.intp]  # rows, [k]
    unseen: NDArray[np.intp]  # rows, [m]
    known_scores: NDArray[np.float64]  # [k]: 1 is the border to "out"
    unseen_scores: NDArray[np.float64]  # [m]

    @property
    def auroc(self) -> float:
        return metrics.auroc(self.known_scores, self.unseen_scores)


LeftOut = Mapping[str, Unseen]  # by class


def without_each_class(
    folder: Folder,
    eyes: Eyes,
    groups: Groups,
    told: Callable[[Without], _Told],
    *,
    recipe: Recipe,
    seed: int,
    folds: int,
    threads: int = 1,
) -> Iterator[_Told]:
    """What is told of each version without some classes, no other things placing its borders; as `left_out_together`
    orders. Each class is left out of one.

    Of more than VERSIONS_MAX classes several are left out of one version. A class is passed over whose fold holds no
    photograph of another, and one without which no version can be fitted: copies that lie under it go with it, and may
    be most of what another class has. threads: versions at once.
    """
    row_of = {photo.relative: row for row, photo in enumerate(folder.photos)}
    labels = labels_of(folder)
    tests = list(divide(groups, {str(number): 1.0 for number in range(folds)}, seed=seed).values())

    def known_of(numbers: Sequence[int]) -> NDArray[np.intp]:
        rows = {row_of[photo.relative] for photo in tests[numbers[0] % folds]}
        return np.array(sorted(row for row in rows if labels[row] not in numbers), np.intp)

    def without(numbers: Sequence[int]) -> list[_Told]:
        away, known = {folder.classes[number] for number in numbers}, known_of(numbers)
        if not len(known):
            return []
        kept_back = set(known.tolist())
        inside = [
            members
            for members in groups
            if row_of[members[0].relative] not in kept_back and all(photo.label not in away for photo in members)
        ]
        fewer = labels - np.searchsorted(numbers, labels)  # of the classes that stay; nobody reads it of the others
        classes = len(folder.classes) - len(numbers)
        try:
            fit = fit_on(inside, row_of, _alone(eyes), fewer, classes=classes, recipe=recipe, seed=seed)
        except (DataTooSmall, SplitImpossible):
            # One of them alone may be the reason: the others are measured without it.
            half = len(numbers) // 2
            return [*without(numbers[:half]), *without(numbers[half:])] if half else []
        unseen = {folder.classes[number]: np.flatnonzero(labels == number) for number in numbers}
        return [told(Without(fit, known, unseen))]

    return chain.from_iterable(side_by_side(without, left_out_together(len(folder.classes)), threads=threads))


def left_out_together(classes: int) -> list[range]:
    """Numbers of classes that are left out of one version: each alone, or dealt out to VERSIONS_MAX in turn.

    Neighbours by name are often one family. Left out in turn, each is told from a version that knows the others.
    """
    versions = min(classes, VERSIONS_MAX)
    return [range(first, classes, versions) for first in range(versions)]


def leave_class_out(
    folder: Folder,
    eyes: Eyes,
    groups: Groups,
    *,
    recipe: Recipe,
    seed: int,
    folds: int,
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, Unseen]:
    """The OOD scores of the verdict, for each class that `without_each_class` tells of.

    progress: told how many classes are done, of how many.
    Empty with two classes: one class alone has nothing to tell it from.
    """
    if len(folder.classes) < 3:
        return {}

    def scored(version: Without) -> dict[str, Unseen]:
        plain, fitted = version.fit.sight.features.plain, version.fit.version
        # Once for all of its classes: asked for each of a dozen they took most of the time that 300 classes take.
        known = ratios_of(fitted, plain[version.known])
        return {
            label: Unseen(version.known, rows, known, ratios_of(fitted, plain[rows]))
            for label, rows in version.unseen.items()
        }

    found: dict[str, Unseen] = {}
    for scores in without_each_class(
        folder, eyes, groups, scored, recipe=recipe, seed=seed, folds=folds, threads=threads
    ):
        found |= scores
        if progress is not None:
            progress(len(found), len(folder.classes))
    return {label: found[label] for label in folder.classes if label in found}


def how_left_out(classes: int) -> str:
    """How many of so many classes a version did not see, in words; empty where each was left out alone."""
    if classes <= VERSIONS_MAX:
        return ""
    fewest, rest = divmod(classes, VERSIONS_MAX)
    count = f"{fewest} or {fewest + 1}" if rest else str(fewest)
    return f"each of {VERSIONS_MAX} versions was made without {count} of {classes} classes"


def mean_auroc(
    left_out: LeftOut, labels: NDArray[np.intp], *, seed: int, groups: NDArray[np.intp] | None = None
) -> Interval:
    """The mean AUROC over the classes left out.  labels, groups: of all the folder's photographs.

    A photograph is drawn once a resample for all versions: unseen for one and known for others, it is one observation
    and not several (Davison and Hinkley 1997, section 3.8: the clusters are resampled).
    """
    cases = [(each, metrics.ranked(each.known_scores, each.unseen_scores)) for each in left_out.values()]

    def mean(photos: NDArray[np.intp]) -> float:
        times = np.bincount(photos, minlength=len(labels))
        # nan where a small fold, or class, is missing from a resample
        return float(np.mean([ranks.auroc(times[each.known], times[each.unseen]) for each, ranks in cases]))

    area = bootstrap(mean, [labels], seed=seed, groups=[groups])
    together = np.arange(len(labels)) if groups is None else groups
    of_both = [
        np.concatenate(rows) for rows in zip(*((each.known, each.unseen) for each in left_out.values()), strict=True)
    ]
    return with_room(area, min(effective(together[rows]) for rows in of_both))


def places_of(rows: NDArray[np.intp], photos: int) -> NDArray[np.intp]:
    """Where each of the folder's photographs stands among the rows, [photos]; -1: nowhere."""
    places = np.full(photos, -1, np.intp)
    places[rows] = np.arange(len(rows))
    return places


def drawn(places: NDArray[np.intp], photos: NDArray[np.intp]) -> NDArray[np.intp]:
    """The places of the photographs of a resample, without those that stand nowhere."""
    found = places[photos]
    return found[found >= 0]


def _alone(eyes: Eyes) -> Eyes:
    """The same sight with no other things to place borders with."""

    def see(photos: Sequence[Photo]) -> Sight:
        sight = eyes(photos)
        return replace(sight, outside=Outside(sight.outside.thresholds[:0], sight.outside.report))

    return see
