"""What a recipe achieves on photographs it never saw, every photograph in turn.

Two figures from the same folds. The accuracy is that of heads fitted on all photographs
outside the fold; of a network that learns, that of whole versions, as no head can be fitted
on a photograph that the network learnt from. Calibration, verdicts and OOD detection are measured with whole versions:
inside the fold's training side the photographs are divided again into those to fit, to
calibrate and to place borders on, as for the version that is served.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from protos.verdict import Decision, decide, prediction_set
from training.data.duplicates import group_numbers
from training.data.folder import Folder, Photo
from training.data.splits import divide, label_of
from training.errors import DataTooSmall
from training.fitting.features import Features, Progress
from training.fitting.head_only import fit_head
from training.fitting.recipe import Recipe
from training.fitting.sight import Eyes, Sight
from training.fitting.version import PARTS, Cut, Part, Version, fit_version
from training.listing import counted, listed
from training.models.heads import Head
from training.served.above import Above, above
from training.side_by_side import side_by_side

Groups = Sequence[Sequence[Photo]]
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """For each photograph, what versions that never saw it say. Rows in the folder's order."""

    labels: NDArray[np.intp]  # [n]
    groups: NDArray[np.intp]  # [n]: photographs that stayed together share a number
    fold: NDArray[np.intp]  # [n]
    # [n]: heads fitted on everything outside the fold; of a network that is tuned, the whole version's own
    head_predicted: NDArray[np.intp]
    elsewhere_predicted: NDArray[np.intp] | None  # [n]: the same on another table; None where nobody looked
    probabilities: NDArray[np.float64]  # [n, classes], of whole versions
    scores: Mapping[str, NDArray[np.float64]]  # detector -> [n]
    decisions: tuple[Decision, ...]  # [n]
    sets: tuple[tuple[int, ...], ...]  # [n]: conformal sets
    above: tuple[Above, ...]  # [n]: the same above the classes
    outside: Mapping[str, NDArray[np.float64]]  # set -> OOD scores by the version of each fold, [folds, m]
    outside_rejected: Mapping[str, NDArray[np.float64]]  # set -> share of folds that call it out, [m]
    outside_groups: Mapping[str, NDArray[np.intp]]  # set -> group of each photograph, [m]
    tuned: bool  # whether the network learnt: then `head_predicted` is of whole versions

    @property
    def ratios(self) -> NDArray[np.float64]:
        """The OOD score of each photograph on the scale of the borders: 1 is out."""
        return np.array([decision.ood_score for decision in self.decisions])


@dataclass(frozen=True, slots=True)
class Fit:
    """A version, what its network shows of every photograph, and which of them served which purpose."""

    version: Version
    sight: Sight
    parts: Mapping[str, Part]  # by the names of PARTS
    learnt_from: tuple[Photo, ...]  # the photographs of the part train, in its order


@dataclass(frozen=True, slots=True)
class _Fold:
    """What is said of the photographs of one fold, by versions that never saw them."""

    test: NDArray[np.intp]  # [k]: rows
    predicted: NDArray[np.intp]  # [k]
    elsewhere: NDArray[np.intp] | None  # [k]
    probabilities: NDArray[np.float64]  # [k, classes]
    scores: Mapping[str, NDArray[np.float64]]  # detector -> [k]
    decisions: tuple[Decision, ...]  # [k]
    sets: tuple[tuple[int, ...], ...]  # [k]
    above: tuple[Above, ...]  # [k]
    outside: Mapping[str, NDArray[np.float64]]  # set -> OOD scores, [m]
    tuned: bool


def out_of_fold(
    folder: Folder,
    eyes: Eyes,
    groups: Groups,
    *,
    folds: int,
    recipe: Recipe,
    seed: int,
    threads: int = 1,
    progress: Progress | None = None,
    outside_groups: Mapping[str, NDArray[np.intp]] = MappingProxyType({}),
) -> OutOfFold:
    """Cross-validate the recipe.  threads: folds at once; of a network that is tuned, one.

    outside_groups: of the photographs of a set of other things that is reported on; without, each is its own.

    Raises DataTooSmall, SplitImpossible.
    """
    tests = divide(groups, {str(number): 1.0 for number in range(folds)}, seed=seed)
    row_of = {photo.relative: row for row, photo in enumerate(folder.photos)}

    def left_out(photos: Sequence[Photo]) -> _Fold:
        return _fold(folder, eyes, groups, {row_of[photo.relative] for photo in photos}, recipe=recipe, seed=seed)

    found: list[_Fold] = []
    for fold in side_by_side(left_out, tests.values(), threads=threads):
        found.append(fold)
        if progress is not None:
            progress(len(found), folds)
    order = np.argsort(np.concatenate([fold.test for fold in found]))

    def ordered(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.asarray(np.concatenate(parts)[order])

    def arranged(parts: Sequence[Sequence[_Item]]) -> tuple[_Item, ...]:
        items = [item for part in parts for item in part]
        return tuple(items[place] for place in order)

    elsewhere = [fold.elsewhere for fold in found if fold.elsewhere is not None]
    outside = {name: np.stack([fold.outside[name] for fold in found]) for name in found[0].outside}
    return OutOfFold(
        labels=labels_of(folder),
        groups=group_numbers(folder.photos, groups),
        fold=ordered([np.full(len(fold.test), number, np.intp) for number, fold in enumerate(found)]),
        head_predicted=ordered([fold.predicted for fold in found]),
        elsewhere_predicted=ordered(elsewhere) if elsewhere else None,
        probabilities=ordered([fold.probabilities for fold in found]),
        scores={name: ordered([fold.scores[name] for fold in found]) for name in found[0].scores},
        decisions=arranged([fold.decisions for fold in found]),
        sets=arranged([fold.sets for fold in found]),
        above=arranged([fold.above for fold in found]),
        outside=outside,
        outside_rejected={name: (scores >= 1.0).mean(axis=0) for name, scores in outside.items()},
        outside_groups={name: outside_groups.get(name, np.arange(scores.shape[1])) for name, scores in outside.items()},
        tuned=found[0].tuned,
    )


def _fold(folder: Folder, eyes: Eyes, groups: Groups, away: set[int], *, recipe: Recipe, seed: int) -> _Fold:
    """away: the rows of the fold."""
    row_of = {photo.relative: row for row, photo in enumerate(folder.photos)}
    labels, classes = labels_of(folder), len(folder.classes)
    test = np.array(sorted(away), np.intp)
    inside = [members for members in groups if row_of[members[0].relative] not in away]
    fit = fit_on(inside, row_of, eyes, labels, classes=classes, recipe=recipe, seed=seed, levels=cuts_of(folder))
    version, sight = fit.version, fit.sight
    head = version.fitted.head
    if not sight.tuned:
        train = np.array(sorted(row_of[photo.relative] for members in inside for photo in members))
        head = head_on(sight.features, labels, train, classes=classes, recipe=recipe)
    plain = sight.features.plain[test]
    probabilities = version.probabilities(plain)
    scores = version.scores(plain)
    decisions = decisions_of(version, plain)
    sets, higher = [], []
    for row, decision in enumerate(decisions):
        chances = probabilities[row].tolist()
        sets.append(prediction_set(chances, version.limits))
        own = {name: float(values[row]) for name, values in scores.items()}
        higher.append(above(decision, chances, own, version.limits, version.levels))
    return _Fold(
        test=test,
        predicted=head.logits(plain).argmax(axis=1),
        elsewhere=head.logits(sight.elsewhere[test]).argmax(axis=1) if sight.elsewhere is not None else None,
        probabilities=probabilities,
        scores=scores,
        decisions=tuple(decisions),
        sets=tuple(sets),
        above=tuple(higher),
        outside={name: ratios_of(version, embedding) for name, embedding in sight.outside.report.items()},
        tuned=sight.tuned,
    )


def head_on(
    features: Features, labels: NDArray[np.intp], train: NDArray[np.intp], *, classes: int, recipe: Recipe
) -> Head:
    """A head fitted on the photographs of the rows `train` and on their views."""
    rows, photo_of_row = features.take(train).flat()
    return fit_head(rows, labels[train][photo_of_row], classes=classes, recipe=recipe)


def fit_on(
    groups: Groups,
    row_of: Mapping[str, int],
    eyes: Eyes,
    labels: NDArray[np.intp],
    *,
    classes: int,
    recipe: Recipe,
    seed: int,
    levels: Sequence[Cut] = (),
) -> Fit:
    """A version fitted on some of the photographs, divided among its parts by groups.

    levels: of the class tree, lowest first.
    """
    parts = divide(groups, shares_of(recipe), seed=seed)
    sight = eyes(parts["train"])

    def part(name: str) -> Part:
        rows = np.array([row_of[photo.relative] for photo in parts[name]])
        return Part(sight.features.take(rows), labels[rows], group_numbers(parts[name], groups))

    divided = {name: part(name) for name in PARTS}
    version = fit_version(
        divided["train"],
        divided["calibration"],
        divided["thresholds"],
        sight.outside.thresholds,
        classes=classes,
        recipe=recipe,
        seed=seed,
        tuned=sight.tuned,
        levels=levels,
    )
    return Fit(version, sight, divided, tuple(parts["train"]))


def check_size(groups: Groups, folder: Folder, *, folds: int, seeds: Iterable[int]) -> None:
    """Raises DataTooSmall naming the classes with too few independent photographs for the folds and parts."""
    counts = Counter(label_of(members) for members in groups)
    need = max(folds, next(n for n in range(1, 10**6) if n - -(-n // folds) >= len(PARTS)))
    few = {label: counts[label] for label in folder.classes if counts[label] < need}
    if few:
        raise DataTooSmall(_too_few(few, groups, folds=folds, need=need))
    if folds > len(PARTS):
        return  # each of the other folds has one of every class
    for seed in seeds:
        for label, taken in _most_in_a_fold(groups, folds=folds, seed=seed).items():
            if counts[label] - taken < len(PARTS):
                raise DataTooSmall(
                    f"class {label} has {counted(counts[label], 'independent photograph')}, and one of {folds} "
                    f"folds takes {taken} of them to weigh up one with many copies or views, which leaves "
                    f"{counts[label] - taken} "
                    f"for {len(PARTS)} parts: use {len(PARTS) + 1} folds or more, or add photographs of it"
                )


def _too_few(few: Mapping[str, int], groups: Groups, *, folds: int, need: int) -> str:
    """few: how many independent photographs each class has that has too few of them."""
    (label, count), *others = few.items()
    elsewhere = sum(label_of(members) != label and label in {photo.label for photo in members} for members in groups)
    said = f"class {label} has {counted(count, 'independent photograph')} (near-duplicates count once)"
    if others:
        said += f", and too few have {listed([f'{name} ({number})' for name, number in others])}"
    said += f"; training with {folds} folds needs at least {need} of each class: add photographs of "
    said += "them" if others else "it"
    fewest = min(few.values())
    if fewest > len(PARTS):  # a fold takes one of them, and each part has another
        said += f", or use {fewest} folds"
    if elsewhere:
        own = f"copies of {label}" if others else "its copies"
        said += (
            f", or take {own} out of other classes, for which {elsewhere} more of its photographs "
            f"{'counts' if elsewhere == 1 else 'count'} (`amulet data check` lists them)"
        )
    return said


def _most_in_a_fold(groups: Groups, *, folds: int, seed: int) -> Mapping[str, int]:
    """Class -> how many of its groups the fold has that takes most of them."""
    most: Counter[str] = Counter()
    for photos in divide(groups, {str(number): 1.0 for number in range(folds)}, seed=seed).values():
        inside = {photo.relative for photo in photos}
        most |= Counter(label_of(members) for members in groups if members[0].relative in inside)
    return most


def shares_of(recipe: Recipe) -> dict[str, float]:
    return {
        "train": recipe.train_share,
        "calibration": recipe.calibration_share,
        "thresholds": recipe.thresholds_share,
    }


def cuts_of(folder: Folder) -> tuple[Cut, ...]:
    return tuple(Cut(level.id, level.group_of(folder.classes)) for level in folder.levels)


def labels_of(folder: Folder) -> NDArray[np.intp]:
    return np.array([folder.index_of(photo) for photo in folder.photos], np.intp)


def decisions_of(version: Version, embedding: NDArray[np.floating]) -> list[Decision]:
    """The verdict on each row [n, size]."""
    if not len(embedding):
        return []
    probabilities = version.probabilities(embedding)
    scores = version.scores(embedding)
    return [
        decide(row.tolist(), {name: float(values[index]) for name, values in scores.items()}, version.limits)
        for index, row in enumerate(probabilities)
    ]


def ratios_of(version: Version, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
    """The OOD score [n] of the verdict: 1 is the border to "out"."""
    return np.array([decision.ood_score for decision in decisions_of(version, embedding)])
