"""Which way to make probabilities of scores holds on photographs that nothing was fitted on.

Every fold's version is fitted as the served one; each calibrator then gets the same scores of the same
photographs, and is measured on the fold, as photographed and as another camera sees it on another table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.calibration import alternatives
from training.calibration.alternatives import Calibrator
from training.calibration.temperature import Scored, fit_temperature, probabilities_of
from training.data.duplicates import group_numbers, groups, near_duplicates
from training.data.folder import load_folder
from training.data.splits import divide
from training.evaluation import crossvalidation, several
from training.evaluation.crossvalidation import Fit
from training.experiments.trials import EyesOf, look_of
from training.fitting.recipe import Recipe
from training.fitting.version import scored, scored_inside
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap_all, reflected

FIGURES: Final = ("ece", "nll", "brier", "ece_views", "nll_views")
SERVED: Final = "temperature (served)"
Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides the comparison."""

    data: Path
    recipe: Recipe
    seeds: tuple[int, ...] = (0, 1, 2)
    folds: int = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A calibrator, and how far its figures are from those of what is served."""

    name: str
    figures: Mapping[str, Interval]
    differences: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class Calibrators:
    """The result, best first by the surprise of the photographs."""

    data: str
    fingerprint: str
    photos: int
    seeds: tuple[int, ...]
    folds: int
    rows: tuple[Row, ...]

    @property
    def p_values(self) -> Mapping[tuple[str, str], float]:
        """(calibrator, figure) -> that the difference from what is served is luck, corrected for all of them."""
        return several.corrected(
            {
                (row.name, name): each
                for row in self.rows
                if row.name != SERVED
                for name, each in row.differences.items()
            }
        )

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        p_values = self.p_values
        return {
            "corrected": several.words(len(p_values)),
            "data": {"name": self.data, "fingerprint": self.fingerprint, "photos": self.photos},
            "seeds": list(self.seeds),
            "folds": self.folds,
            "calibrators": {
                row.name: {
                    **{name: interval.value for name, interval in row.figures.items()},
                    "intervals": {name: interval.pair() for name, interval in row.figures.items()},
                    "differences_from_served": {
                        name: several.told(interval, p_values.get((row.name, name), 1.0))
                        for name, interval in row.differences.items()
                    },
                }
                for row in self.rows
            },
        }


def calibrators(request: Request, eyes_of: EyesOf, *, say: Say) -> Calibrators:
    """Measure every calibrator. Raises DataWrong or TrainingRefused, each one sentence."""
    folder = load_folder(request.data, progress=lambda done, total: say("Reading photographs", done, total))
    together = groups(folder.photos, near_duplicates(folder.photos))
    crossvalidation.check_size(together, folder, folds=request.folds, seeds=request.seeds)
    row_of = {photo.relative: row for row, photo in enumerate(folder.photos)}
    labels, classes = crossvalidation.labels_of(folder), len(folder.classes)
    plain: dict[str, list[NDArray[np.float64]]] = {}  # calibrator -> for each seed, [n, classes]
    views: dict[str, list[NDArray[np.float64]]] = {}
    total = len(request.seeds) * request.folds
    for turn, seed in enumerate(request.seeds):
        look = look_of(folder.photos, {}, views=max(request.recipe.views, 1), seed=seed)
        eyes = eyes_of(request.recipe, look, together, seed)
        tests = divide(together, {str(number): 1.0 for number in range(request.folds)}, seed=seed)
        for number, photos in enumerate(tests.values()):
            say("Calibrating folds", turn * request.folds + number, total)
            test = np.array([row_of[photo.relative] for photo in photos])
            away = set(test.tolist())
            inside = [members for members in together if row_of[members[0].relative] not in away]
            fit = crossvalidation.fit_on(
                inside, row_of, eyes, labels, classes=classes, recipe=request.recipe, seed=seed
            )
            head, features = fit.version.fitted.head, fit.sight.features
            for name, calibrate in calibrators_of(fit, request.recipe, classes=classes).items():
                for table, embedding in ((plain, features.plain[test]), (views, features.views[test, 0])):
                    rows = table.setdefault(name, [])
                    if len(rows) == turn:
                        rows.append(np.zeros((len(labels), classes)))
                    rows[turn][test] = calibrate(head.logits(embedding))
    say("Calibrating folds", total, total)
    return Calibrators(
        data=request.data.resolve().name,
        fingerprint=folder.fingerprint,
        photos=len(folder.photos),
        seeds=request.seeds,
        folds=request.folds,
        rows=_rows(plain, views, labels, group_numbers(folder.photos, together)),
    )


def calibrators_of(fit: Fit, recipe: Recipe, *, classes: int) -> dict[str, Calibrator]:
    """Each on the calibration part alone, and with the training photographs scored without their group."""
    head, train = fit.version.fitted.head, fit.parts["train"]
    calibration = scored(head, fit.parts["calibration"].rows())
    inside = None if fit.sight.tuned else scored_inside(train, train.rows(), classes=classes, recipe=recipe)
    wide = _joined(calibration, inside.all) if inside is not None else calibration

    def divided(temperature: float) -> Calibrator:
        return lambda logits: probabilities_of(logits, temperature)

    return {
        "uncalibrated": divided(1.0),
        SERVED: divided(fit.version.fitted.temperature),
        "temperature, calibration part alone": divided(fit_temperature(calibration)),
        "vector scaling": alternatives.vector_scaling(wide),
        "vector scaling, calibration part alone": alternatives.vector_scaling(calibration),
        "isotonic": alternatives.isotonic(wide),
        "isotonic, calibration part alone": alternatives.isotonic(calibration),
    }


def _joined(one: Scored, other: Scored) -> Scored:
    return Scored(
        np.concatenate([one.logits, other.logits]),
        np.concatenate([one.labels, other.labels]),
        np.concatenate([one.weights, other.weights]),
    )


def _rows(
    plain: Mapping[str, Sequence[NDArray[np.float64]]],
    views: Mapping[str, Sequence[NDArray[np.float64]]],
    labels: NDArray[np.intp],
    groups: NDArray[np.intp],
) -> tuple[Row, ...]:
    names = list(plain)

    def figures(name: str, rows: NDArray[np.intp]) -> list[float]:
        truth = labels[rows]
        every = [
            (
                metrics.expected_calibration_error(one[rows], truth),
                metrics.negative_log_likelihood(one[rows], truth),
                metrics.brier(one[rows], truth),
                metrics.expected_calibration_error(other[rows], truth),
                metrics.negative_log_likelihood(other[rows], truth),
            )
            for one, other in zip(plain[name], views[name], strict=True)
        ]
        return np.mean(every, axis=0).tolist()  # type: ignore[no-any-return]

    def measure(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        table = np.array([figures(name, rows) for name in names])
        return np.concatenate([table, table - table[names.index(SERVED)]]).ravel()

    intervals = bootstrap_all(measure, [labels], seed=0, groups=[groups])
    width = len(FIGURES)
    told = [
        dict(zip(FIGURES, intervals[start : start + width], strict=True)) for start in range(0, len(intervals), width)
    ]

    def against_luck(name: str) -> dict[str, Interval]:
        found = dict(told[names.index(name)])
        for figure, tables in (("ece", plain[name]), ("ece_views", views[name])):
            said = np.stack([table.max(axis=1) for table in tables])
            found[figure] = metrics.calibration_interval(found[figure], said, seed=0, groups=groups)
        return found

    def turned(figures: Mapping[str, Interval]) -> dict[str, Interval]:
        return {name: reflected(each) if name.startswith("ece") else each for name, each in figures.items()}

    rows = [Row(name, against_luck(name), turned(told[len(names) + number])) for number, name in enumerate(names)]
    return tuple(sorted(rows, key=lambda row: row.figures["nll"].value))
