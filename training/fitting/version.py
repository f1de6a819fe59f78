"""Everything that is fitted of one model version, each part of it on photographs of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from protos.verdict import DecisionLimits, Level
from training.calibration import conformal
from training.calibration.temperature import Scored, probabilities_of
from training.calibration.trial import Foldable, Trial, tried_temperature
from training.errors import DataTooSmall
from training.fitting.features import Features
from training.fitting.head_only import fit_head
from training.fitting.recipe import Recipe
from training.models.heads import Head
from training.ood import combination, isolation_forest, mahalanobis, nearest_neighbour, relative_mahalanobis, thresholds
from training.ood.combination import Combination
from training.ood.mahalanobis import Mahalanobis
from training.ood.nearest_neighbour import NearestNeighbour
from training.statistics.covariance import within_class

PARTS: Final = ("train", "calibration", "thresholds")
DETECTORS: Final = (combination.NAME, mahalanobis.NAME, nearest_neighbour.NAME, isolation_forest.NAME)
# The recipe's ratios are the combination's. Alone, a detector speaks only where hardly any known photograph
# has been (decision 0100).
ALONE_RATIO: Final = 0.0003
# Whose border given photographs of other things move: coins and household things lie far away, and distance tells
# them by a wide gap.
_TAUGHT: Final = (combination.NAME, mahalanobis.NAME)
_INNER_FOLDS: Final = 3
_Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Part:
    """Photographs that serve one purpose, and what they show."""

    features: Features
    labels: NDArray[np.intp]  # [photos]
    groups: NDArray[np.intp]  # [photos]: near-duplicates share a number

    def rows(self) -> Rows:
        """Photographs and their views."""
        embedding, photo_of_row = self.features.flat()
        photos, views = self.features.views.shape[:2]
        weights = np.ones(photos)
        if views:
            weights = np.concatenate([np.full(photos, 0.5), np.full(photos * views, 0.5 / views)])
        _, number, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        return Rows(embedding, self.labels[photo_of_row], photo_of_row, weights / sizes[number][photo_of_row])


@dataclass(frozen=True, slots=True)
class Rows:
    """What is fitted on."""

    embedding: NDArray[np.float32]  # [n, size]
    labels: NDArray[np.intp]  # [n]
    photo: NDArray[np.intp]  # [n]: whose row it is
    # [n]: copies and views of one object count once altogether, by equal parts; a photograph's part is half its own
    # and half that of the views that were drawn of it
    weights: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cut:
    """A level of the class tree, before anything is fitted."""

    id: str
    group_of: tuple[int, ...]  # for each class, the number of its group


@dataclass(frozen=True, slots=True)
class Inside:
    """Training photographs, each scored by a head fitted without its group."""

    all: Scored  # photographs and views
    groups: NDArray[np.intp]  # of the rows of `all`
    plain: Scored  # photographs as they are
    plain_groups: NDArray[np.intp]  # of the rows of `plain`


@dataclass(frozen=True, slots=True)
class Fitted:
    """Everything on top of the backbone of a version."""

    head: Head
    temperature: float
    combination: Combination
    forest: IsolationForest

    @property
    def nearest(self) -> NearestNeighbour:
        return self.combination.nearest

    @property
    def mahalanobis(self) -> Mahalanobis:
        return self.combination.relative.classes


@dataclass(frozen=True, slots=True)
class Version:
    """A head, its temperature, detectors and the borders of their scores."""

    fitted: Fitted
    limits: DecisionLimits
    levels: tuple[Level, ...]  # of the class tree, lowest first
    trial: Trial  # of its temperature

    def probabilities(self, embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated, [n, classes]."""
        return probabilities_of(self.fitted.head.logits(embedding), self.fitted.temperature)

    def scores(self, embedding: NDArray[np.floating]) -> _Scores:
        """Detector -> [n]."""
        return detector_scores(self.fitted, embedding)


def fit_version(
    train: Part,
    calibration: Part,
    held_out: Part,
    outside: NDArray[np.floating],
    *,
    classes: int,
    recipe: Recipe,
    seed: int,
    tuned: bool = False,
    levels: Sequence[Cut] = (),
) -> Version:
    """Fit head and detectors on `train`, the temperature on `calibration`, the borders on `held_out`.

    outside: embeddings [m, size] of photographs of other things, set aside for the borders; may be
    empty.  tuned: the network itself has learnt from `train`, so that no head can be fitted without one
    of its photographs; temperature and prediction sets then rest on the other parts alone.  levels: cuts
    through the class tree, lowest first.

    Raises DataTooSmall where the photographs of each class do not differ at all, or are too few to leave some out.
    """
    rows = train.rows()
    try:
        statistics = within_class(rows.embedding, rows.labels, classes=classes, shrinkage=recipe.mahalanobis_shrinkage)
        shared = statistics if recipe.head_shrinkage == recipe.mahalanobis_shrinkage else None
        head = fit_head(rows.embedding, rows.labels, classes=classes, recipe=recipe, statistics=shared)
    except ValueError as error:
        raise DataTooSmall(f"nothing can be learnt from these photographs: {error}") from None
    distance = mahalanobis.fit(statistics)
    both = combination.fit(
        nearest_neighbour.fit(distance, rows.embedding, rows.labels, rows.photo),
        relative_mahalanobis.fit(distance, rows.embedding, shrinkage=recipe.mahalanobis_shrinkage),
        held_out.features.flat()[0],
    )
    forest = isolation_forest.fit(rows.embedding, trees=recipe.forest_trees, samples=recipe.forest_samples, seed=seed)
    inside = None if tuned else scored_inside(train, rows, classes=classes, recipe=recipe)
    calibrating = calibration.rows()
    try:
        trial = tried_temperature(
            Foldable(scored(head, calibrating), calibration.groups[calibrating.photo]),
            Foldable(inside.all, inside.groups) if inside else None,
        )
    except ValueError as error:
        raise DataTooSmall(str(error)) from None
    fitted = Fitted(head, trial.temperature, both, forest)
    unseen = _unseen(fitted, held_out, inside)
    return Version(
        fitted,
        _limits(fitted, held_out, unseen, outside, recipe),
        tuple(_level(cut, unseen, coverage=recipe.set_coverage) for cut in levels),
        trial,
    )


def detector_scores(fitted: Fitted, embedding: NDArray[np.floating]) -> _Scores:
    """Detector -> [n]; higher is further out."""
    if not len(embedding):
        return {name: np.zeros(0) for name in DETECTORS}
    return {
        combination.NAME: fitted.combination.score(embedding),
        mahalanobis.NAME: fitted.mahalanobis.score(embedding),
        nearest_neighbour.NAME: fitted.nearest.score(embedding),
        isolation_forest.NAME: isolation_forest.score(fitted.forest, embedding),
    }


def scored(head: Head, rows: Rows) -> Scored:
    return Scored(head.logits(rows.embedding), rows.labels, rows.weights)


def scored_inside(train: Part, rows: Rows, *, classes: int, recipe: Recipe) -> Inside | None:
    """Each training photograph by a head without its group; None where no class can spare a group.

    Raises DataTooSmall where groups with photographs of several classes leave one without any.
    """
    fold_of = _inner_folds(train)
    logits = np.zeros((len(rows.labels), classes))
    for number in range(_INNER_FOLDS):
        away = fold_of[rows.photo] == number
        if not away.any():
            continue
        try:
            head = fit_head(rows.embedding[~away], rows.labels[~away], classes=classes, recipe=recipe)
        except ValueError as error:
            raise DataTooSmall(
                f"nothing can be learnt without a part of the photographs: {error}; look for near-duplicates under "
                f"two classes (amulet data check)"
            ) from None
        logits[away] = head.logits(rows.embedding[away])
    scored = np.flatnonzero(fold_of[rows.photo] >= 0)
    if not len(scored):
        return None
    plain = scored[scored < len(train.labels)]  # a part's photographs come before their views
    return Inside(
        Scored(logits[scored], rows.labels[scored], rows.weights[scored]),
        train.groups[rows.photo[scored]],
        Scored(logits[plain], rows.labels[plain], np.ones(len(plain))),
        train.groups[plain],
    )


def _inner_folds(train: Part) -> NDArray[np.intp]:
    """A fold for each photograph, whole groups together, dealt within classes; -1 where a class has one group only."""
    folds = np.full(len(train.labels), -1, np.intp)
    for label in np.unique(train.labels):
        own = train.labels == label
        numbers = np.unique(train.groups[own])
        if len(numbers) > 1:
            folds[own] = np.searchsorted(numbers, train.groups[own]) % _INNER_FOLDS
    # A group with several labels follows its first photograph.
    _, first, group = np.unique(train.groups, return_index=True, return_inverse=True)
    return np.asarray(folds[first][group])


@dataclass(frozen=True, slots=True)
class _Unseen:
    """Calibrated probabilities of photographs, each by a head that was not fitted on it."""

    probabilities: NDArray[np.float64]  # [n, classes]
    labels: NDArray[np.intp]
    groups: NDArray[np.intp]


def _unseen(fitted: Fitted, held_out: Part, inside: Inside | None) -> _Unseen:
    """What prediction sets are limited by: the held-out part, and the training photographs without their group.

    On a dozen photographs alone a coverage of 90 % is the largest score of all (decision 0013).
    """
    logits, labels, groups = fitted.head.logits(held_out.features.plain), held_out.labels, held_out.groups
    if inside is not None:
        logits = np.concatenate([logits, inside.plain.logits])
        labels = np.concatenate([labels, inside.plain.labels])
        groups = np.concatenate([groups, inside.plain_groups])
    return _Unseen(probabilities_of(logits, fitted.temperature), labels, groups)


def _set_probability_min(unseen: _Unseen, *, coverage: float) -> float:
    if coverage <= 0.0:
        return 1.0
    return conformal.set_probability_min(unseen.probabilities, unseen.labels, coverage=coverage, groups=unseen.groups)


def _level(cut: Cut, unseen: _Unseen, *, coverage: float) -> Level:
    """The cut with the limit of its own prediction sets."""
    group_of = np.array(cut.group_of, np.intp)
    sums = unseen.probabilities @ np.eye(group_of.max() + 1)[group_of]
    grouped = _Unseen(sums, group_of[unseen.labels], unseen.groups)
    return Level(cut.id, cut.group_of, _set_probability_min(grouped, coverage=coverage))


def _limits(
    fitted: Fitted, held_out: Part, unseen: _Unseen, outside: NDArray[np.floating], recipe: Recipe
) -> DecisionLimits:
    """Borders from photographs that nothing was fitted on, and from views of them as other cameras see them."""
    rows, photo_of_row = held_out.features.flat()
    known = detector_scores(fitted, rows)
    _, number, sizes = np.unique(held_out.groups, return_inverse=True, return_counts=True)
    uneven = bool((sizes != sizes[0]).any())
    away = detector_scores(fitted, outside)
    detectors = []
    for name in DETECTORS:
        together = name == combination.NAME
        detectors.append(
            thresholds.limits_of(
                name,
                known[name],
                away[name] if name in _TAUGHT else np.zeros(0),
                independent=len(sizes),
                shares=(1.0 / sizes)[number][photo_of_row] if uneven else None,
                unsure_ratio=recipe.unsure_ratio if together else ALONE_RATIO,
                out_ratio=recipe.out_ratio if together else ALONE_RATIO,
            )
        )
    return DecisionLimits(
        confidence_min=recipe.confidence_min,
        margin_min=recipe.margin_min,
        detectors=tuple(detectors),
        set_coverage=recipe.set_coverage,
        set_probability_min=_set_probability_min(unseen, coverage=recipe.set_coverage),
    )
