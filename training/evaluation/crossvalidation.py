"""What a recipe achieves on photographs it never saw, every photograph in turn.

Two figures from the same folds. The accuracy is that of heads fitted on all photographs
outside the fold. Calibration, verdicts and OOD detection are measured with whole versions:
inside the fold's training side the photographs are divided again into those to fit, to
calibrate and to place borders on, as for the version that is served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from protos.verdict import Decision, decide, prediction_set
from training.data.folder import Folder, Photo
from training.data.splits import divide
from training.errors import DataTooSmall
from training.evaluation.levels import Above, above
from training.fitting.features import Progress
from training.fitting.head_only import fit_head
from training.fitting.recipe import Recipe
from training.fitting.sight import Eyes, Outside, Sight
from training.fitting.version import PARTS, Cut, Part, Version, fit_version

Groups = Sequence[Sequence[Photo]]


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """For each photograph, what versions that never saw it say. Rows in the folder's order."""

    labels: NDArray[np.intp]  # [n]
    fold: NDArray[np.intp]  # [n]
    # [n]: heads fitted on everything outside the fold; of a network that is tuned, the whole version's own
    head_predicted: NDArray[np.intp]
    elsewhere_predicted: NDArray[np.intp] | None  # [n]: the same on another table; None where nobody looked
    probabilities: NDArray[np.float64]  # [n, classes], of whole versions
    scores: Mapping[str, NDArray[np.float64]]  # detector -> [n]
    decisions: tuple[Decision, ...]  # [n]
    sets: tuple[tuple[int, ...], ...]  # [n]: conformal sets
    above: tuple[Above, ...]  # [n]: the same above the classes
    outside: Mapping[str, NDArray[np.float64]]  # set -> mean over folds of the OOD score, [m]
    outside_rejected: Mapping[str, NDArray[np.float64]]  # set -> share of folds that call it out, [m]

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


def out_of_fold(
    folder: Folder,
    eyes: Eyes,
    groups: Groups,
    *,
    folds: int,
    recipe: Recipe,
    seed: int,
    progress: Progress | None = None,
) -> OutOfFold:
    """Cross-validate the recipe. Raises DataTooSmall, SplitImpossible."""
    row_of = {photo.relative: row for row, photo in enumerate(folder.photos)}
    labels = labels_of(folder)
    classes = len(folder.classes)
    fold_of = np.zeros(len(labels), np.intp)
    predicted = np.zeros(len(labels), np.intp)
    elsewhere: NDArray[np.intp] | None = None
    probabilities = np.zeros((len(labels), classes))
    scores: dict[str, NDArray[np.float64]] = {}
    decisions: list[Decision | None] = [None] * len(labels)
    sets: list[tuple[int, ...]] = [()] * len(labels)
    higher: list[Above] = [Above(None, ())] * len(labels)
    ratios: dict[str, list[list[float]]] = {}
    rejected: dict[str, list[list[bool]]] = {}
    tests = divide(groups, {str(number): 1.0 for number in range(folds)}, seed=seed)
    for number, photos in enumerate(tests.values()):
        test = np.array([row_of[photo.relative] for photo in photos])
        away = set(test.tolist())
        inside = [members for members in groups if row_of[members[0].relative] not in away]
        train = np.array(sorted(row_of[photo.relative] for members in inside for photo in members))
        fold_of[test] = number
        fit = fit_on(inside, row_of, eyes, labels, classes=classes, recipe=recipe, seed=seed, levels=cuts_of(folder))
        version, features, outside = fit.version, fit.sight.features, fit.sight.outside
        head = version.fitted.head
        if not fit.sight.tuned:
            rows, photo_of_row = features.take(train).flat()
            head = fit_head(rows, labels[train][photo_of_row], classes=classes, recipe=recipe)
        predicted[test] = head.logits(features.plain[test]).argmax(axis=1)
        if fit.sight.elsewhere is not None:
            elsewhere = np.zeros(len(labels), np.intp) if elsewhere is None else elsewhere
            elsewhere[test] = head.logits(fit.sight.elsewhere[test]).argmax(axis=1)
        probabilities[test] = version.probabilities(features.plain[test])
        for name, values in version.scores(features.plain[test]).items():
            scores.setdefault(name, np.zeros(len(labels)))[test] = values
        for row, decision in zip(test, decisions_of(version, features.plain[test]), strict=True):
            decisions[row] = decision
            chances = probabilities[row].tolist()
            sets[row] = prediction_set(chances, version.limits)
            own = {name: float(values[row]) for name, values in scores.items()}
            higher[row] = above(decision, chances, own, version.limits, version.levels)
        for name, embedding in outside.report.items():
            found = decisions_of(version, embedding)
            ratios.setdefault(name, []).append([decision.ood_score for decision in found])
            rejected.setdefault(name, []).append([decision.ood_score >= 1.0 for decision in found])
        if progress is not None:
            progress(number + 1, folds)
    return OutOfFold(
        labels=labels,
        fold=fold_of,
        head_predicted=predicted,
        elsewhere_predicted=elsewhere,
        probabilities=probabilities,
        scores=scores,
        decisions=tuple(decision for decision in decisions if decision is not None),
        sets=tuple(sets),
        above=tuple(higher),
        outside={name: np.mean(rows, axis=0) for name, rows in ratios.items()},
        outside_rejected={name: np.mean(rows, axis=0) for name, rows in rejected.items()},
    )


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
    number_of = {photo.relative: number for number, members in enumerate(groups) for photo in members}

    sight = eyes(parts["train"])

    def part(name: str) -> Part:
        rows = np.array([row_of[photo.relative] for photo in parts[name]])
        numbers = np.array([number_of[photo.relative] for photo in parts[name]], np.intp)
        return Part(sight.features.take(rows), labels[rows], numbers)

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


def leave_class_out(
    folder: Folder, eyes: Eyes, groups: Groups, *, recipe: Recipe, seed: int, folds: int
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For each class: OOD scores where a version never saw it: (known held-out photographs, its photographs).

    The known ones are the photographs of the other classes in one fold, which the version did not
    see either. No other things place its borders. Empty with two classes: one class alone has nothing to tell it from.
    """
    if len(folder.classes) < 3:
        return {}
    row_of = {photo.relative: row for row, photo in enumerate(folder.photos)}
    labels = labels_of(folder)
    tests = list(divide(groups, {str(number): 1.0 for number in range(folds)}, seed=seed).values())
    found = {}
    for number, left_out in enumerate(folder.classes):
        away = {row_of[photo.relative] for photo in tests[number % folds]}
        inside = [
            members
            for members in groups
            if row_of[members[0].relative] not in away and all(photo.label != left_out for photo in members)
        ]
        fewer = np.where(labels > number, labels - 1, labels)
        fit = fit_on(inside, row_of, alone(eyes), fewer, classes=len(folder.classes) - 1, recipe=recipe, seed=seed)
        known = np.array(sorted(row for row in away if labels[row] != number))
        if not len(known):
            continue
        found[left_out] = (
            ratios_of(fit.version, fit.sight.features.plain[known]),
            ratios_of(fit.version, fit.sight.features.plain[labels == number]),
        )
    return found


def alone(eyes: Eyes) -> Eyes:
    """The same sight without other things."""

    def see(photos: Sequence[Photo]) -> Sight:
        sight = eyes(photos)
        return replace(sight, outside=Outside(sight.outside.thresholds[:0]))

    return see


def check_size(groups: Groups, folder: Folder, *, folds: int) -> None:
    """Raises DataTooSmall naming the class with too few independent photographs for the folds and parts."""
    for label in folder.classes:
        count = sum(1 for members in groups if members[0].label == label)
        largest_fold = -(-count // folds)
        parts = 3
        if count >= folds and count - largest_fold >= parts:
            continue
        need = max(folds, next(n for n in range(1, 10**6) if n - -(-n // folds) >= parts))
        raise DataTooSmall(
            f"class {label} has {count} independent photographs (near-duplicates count once); training with "
            f"{folds} folds needs at least {need} of each class: add photographs of it"
        )


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
