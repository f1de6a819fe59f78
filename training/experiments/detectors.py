"""Which score tells an object of an unknown class best, and which a coin: detectors on the same photographs.

Each class is left out in turn (the hard test: what is left out resembles the others), and a version is
fitted without it and without one fold of the other classes. Its photographs are then told from those of that
fold. Nothing is chosen here: every number that a detector needs is the recipe's, or its paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.data.duplicates import group_numbers, grouped, groups, near_duplicates
from training.data.folder import load_folder
from training.data.others import read_unlike
from training.errors import DataTooSmall
from training.evaluation import crossvalidation, several
from training.evaluation.crossvalidation import Fit
from training.evaluation.unseen import Without, drawn, places_of, without_each_class
from training.experiments.trials import EyesOf, look_of
from training.export.fused_graph import linear
from training.fitting.recipe import Recipe
from training.ood import (
    combination,
    isolation_forest,
    k_nearest,
    logits,
    mahalanobis,
    nearest_neighbour,
    relative_mahalanobis,
    vim,
)
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap_all, effective, with_room

GRAPH: Final = (
    "all of the graph"  # the OOD score of the verdict: the combination, and any other detector beyond its border
)
_NEIGHBOURS: Final = 5
_RESAMPLES: Final = 500
UNSEEN: Final = "unseen class"
UNSEEN_VIEWS: Final = "unseen class, on other tables"
Say = Callable[[str, int, int], None]
Scorer = Callable[[NDArray[np.floating]], NDArray[np.float64]]  # embedding [n, size] -> [n], higher is further out
# What is told apart -> detector -> (scores of known photographs, of the others), for one version.
_Scores = Mapping[str, Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]]


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides the comparison."""

    data: Path
    recipe: Recipe
    outside: tuple[Path, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A detector: the AUROC of each thing to be told, and how far it is from that of the graph."""

    name: str
    auroc: Mapping[str, Interval]
    differences: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class Detectors:
    """The result, best first by the unseen class."""

    data: str
    fingerprint: str
    photos: int
    classes: int  # that were left out
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]

    @property
    def p_values(self) -> Mapping[tuple[str, str], float]:
        """(detector, what is told) -> that the difference from the graph is luck, corrected for all of them."""
        return several.corrected(
            {(row.name, name): each for row in self.rows if row.name != GRAPH for name, each in row.differences.items()}
        )

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        p_values = self.p_values
        return {
            "corrected": several.words(len(p_values)),
            "data": {"name": self.data, "fingerprint": self.fingerprint, "photos": self.photos},
            "classes_left_out": self.classes,
            "seeds": list(self.seeds),
            "detectors": {
                row.name: {
                    name: {
                        "auroc": interval.value,
                        "interval": interval.pair(),
                        "difference_from_graph": row.differences[name].value,
                        "difference_interval": row.differences[name].pair(),
                        "difference_p_value": p_values.get((row.name, name), 1.0),
                    }
                    for name, interval in row.auroc.items()
                }
                for row in self.rows
            },
        }


@dataclass(frozen=True, slots=True)
class _Told:
    """What one version said, and of which photographs: rows of the folder, in the order of the scores."""

    label: str  # the class that it never saw
    known: NDArray[np.intp]
    unseen: NDArray[np.intp]
    scores: _Scores


def detectors(request: Request, eyes_of: EyesOf, *, say: Say) -> Detectors:
    """Measure every detector. Raises DataWrong or TrainingRefused, each one sentence."""
    folder = load_folder(request.data, progress=lambda done, total: say("Reading photographs", done, total))
    if len(folder.classes) < 3:
        raise DataTooSmall(
            f"{request.data} has {len(folder.classes)} classes: with one left out at least two must remain, so "
            f"give three or more"
        )
    together = groups(folder.photos, near_duplicates(folder.photos))
    crossvalidation.check_size(together, folder, folds=request.folds, seeds=request.seeds)
    sets = read_unlike(request.outside, folder)
    labels = crossvalidation.labels_of(folder)
    told: list[_Told] = []
    total = len(request.seeds) * len(folder.classes)
    say("Leaving each class out", 0, total)
    for seed in request.seeds:
        look = look_of(folder.photos, sets, views=max(request.recipe.views, 1), seed=seed)
        eyes = eyes_of(request.recipe, look, together, seed)
        cases = without_each_class(
            folder, eyes, together, _told_of, recipe=request.recipe, seed=seed, folds=request.folds
        )
        for of_version in cases:
            told.extend(of_version)
            say("Leaving each class out", len(told), total)
    if not told:
        raise DataTooSmall(
            f"{request.data} has no class without which the others are enough to learn from: look for near-duplicates "
            f"under two classes (amulet data check)"
        )
    return Detectors(
        data=request.data.resolve().name,
        fingerprint=folder.fingerprint,
        photos=len(folder.photos),
        classes=len({case.label for case in told}),
        seeds=request.seeds,
        rows=_rows(
            told, labels, [group_numbers(folder.photos, together), *(grouped(photos) for photos in sets.values())]
        ),
    )


def scorers_of(fit: Fit) -> dict[str, Scorer]:
    """Every detector that there is, fitted on the version's own training part."""
    fitted, rows = fit.version.fitted, fit.parts["train"].rows()
    temperature = fitted.temperature
    virtual = vim.fit(rows.embedding, linear(fitted.head), temperature=temperature)

    def calibrated(embedding: NDArray[np.floating]) -> NDArray[np.float64]:
        return fitted.head.logits(embedding) / temperature

    return {
        GRAPH: lambda embedding: crossvalidation.ratios_of(fit.version, embedding),
        nearest_neighbour.NAME: fitted.nearest.score,
        mahalanobis.NAME: fitted.mahalanobis.score,
        relative_mahalanobis.NAME: fitted.combination.relative.score,
        combination.NAME: fitted.combination.score,
        k_nearest.NAME: k_nearest.KNearest(rows.embedding, _NEIGHBOURS).score,
        vim.NAME: virtual.score,
        logits.ENERGY: lambda embedding: logits.energy(calibrated(embedding)),
        logits.MAX_LOGIT: lambda embedding: logits.max_logit(calibrated(embedding)),
        logits.MAX_PROBABILITY: lambda embedding: logits.max_probability(calibrated(embedding)),
        isolation_forest.NAME: lambda embedding: isolation_forest.score(fitted.forest, embedding),
    }


def _told_of(version: Without) -> list[_Told]:
    """Of each class that it never saw; what was known to it, and other things, are scored once for all of them."""
    features, report = version.fit.sight.features, version.fit.sight.outside.report
    found: dict[str, dict[str, dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]]] = {
        label: {thing: {} for thing in (UNSEEN, *report, UNSEEN_VIEWS)} for label in version.unseen
    }
    for name, score in scorers_of(version.fit).items():
        plain, views = score(features.plain[version.known]), score(features.views[version.known, 0])
        outside = {thing: score(embedding) for thing, embedding in report.items()}
        for label, rows in version.unseen.items():
            own = found[label]
            own[UNSEEN][name] = plain, score(features.plain[rows])
            own[UNSEEN_VIEWS][name] = views, score(features.views[rows, 0])
            for thing, scores in outside.items():
                own[thing][name] = plain, scores
    return [_Told(label, version.known, rows, found[label]) for label, rows in version.unseen.items()]


def _rows(told: Sequence[_Told], labels: NDArray[np.intp], groups: Sequence[NDArray[np.intp]]) -> tuple[Row, ...]:
    """labels: of the folder's photographs.  groups: of these, then of those of each set of other things.

    A photograph, or one of other things, is drawn once a resample for all versions: what several of them say of it
    is one observation and not several (Davison and Hinkley 1997, section 3.8: the clusters are resampled).
    """
    things = list(told[0].scores)
    names = list(told[0].scores[UNSEEN])
    sets = [thing for thing in things if thing not in (UNSEEN, UNSEEN_VIEWS)]
    strata = [labels, *(np.zeros(len(told[0].scores[name][GRAPH][1]), np.intp) for name in sets)]
    places = [(places_of(each.known, len(labels)), places_of(each.unseen, len(labels))) for each in told]

    def measure(photos: NDArray[np.intp], *outside: NDArray[np.intp]) -> NDArray[np.float64]:
        away_of = dict(zip(sets, outside, strict=True))
        table = np.full((len(told), len(things), len(names)), np.nan)
        for version, (each, (of_known, of_unseen)) in enumerate(zip(told, places, strict=True)):
            known, unseen = drawn(of_known, photos), drawn(of_unseen, photos)
            if not len(known):  # a small fold may be missing from a resample
                continue
            for row, thing in enumerate(things):
                away = away_of.get(thing, unseen)
                table[version, row] = [
                    metrics.auroc(own[known], others[away])
                    for own, others in (each.scores[thing][name] for name in names)
                ]
        mean = table.mean(axis=0)  # [things, detectors]
        return np.stack([mean, mean - mean[:, [names.index(GRAPH)]]]).ravel()

    intervals = iter(bootstrap_all(measure, strata, seed=0, groups=groups, resamples=_RESAMPLES))
    known, *others = (effective(own) for own in groups)
    photos = {thing: min(known, dict(zip(sets, others, strict=True)).get(thing, known)) for thing in things}
    values = {thing: {name: with_room(next(intervals), photos[thing]) for name in names} for thing in things}
    differences = {thing: {name: next(intervals) for name in names} for thing in things}
    rows = [
        Row(
            name,
            {thing: values[thing][name] for thing in things},
            {thing: differences[thing][name] for thing in things},
        )
        for name in names
    ]
    return tuple(sorted(rows, key=lambda row: -row.auroc[UNSEEN].value))
