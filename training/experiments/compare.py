"""Models side by side on the same photographs: is one better, and by more than luck?

Differences are paired: each resample of the photographs measures every model on the same
ones, so that what is hard for all of them cancels (Efron and Tibshirani 1993, chapter 8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.data.errors import printable
from training.errors import SettingWrong
from training.evaluation import several
from training.evaluation.evaluate import OutsideSet, evaluate
from training.experiments.cost import Cost, Training, costs_of, training_of
from training.experiments.kept_answers import Answers, answers_in, answers_of, auroc_in, records_of
from training.experiments.tracking import TrackedRun
from training.listing import counted
from training.processor import processor
from training.served.answers import GraphModel
from training.statistics import metrics
from training.statistics.intervals import Interval, bootstrap_all, effective, of_class_mean, of_difference, reflected

# What a version must reach to be taken into service.
MACRO_F1_MIN: Final = 0.85
P95_MS_MAX: Final = 2000.0
SIZE_MB_MAX: Final = 50.0
FIGURES: Final = ("balanced_accuracy", "macro_f1", "ece")
# Of macro F1, one-sided at 97.5 %: so much worse is still as good, and it has to be shown (decision 0155).
NOT_WORSE_BY: Final = 0.02
# Of the best one's p95: less of a difference is the machine's noise and nothing that a caller feels.
_FASTER_SHARE: Final = 0.8
_OTHERS: Final = (
    "{run} was measured on other photographs than {first}: compare runs of one data set, or give photographs that none "
    "was trained on (--data)"
)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model."""

    name: str
    version: str
    figures: Mapping[str, Interval]
    per_class_f1: Mapping[str, float]
    accepted: float
    accepted_accuracy: float | None
    ood_auroc: Mapping[str, float]
    cost: Cost
    training: Training | None = None  # None: it was noted nowhere that was looked at
    inherited: bool = False  # whether its figures are those of the fp32 run that it was made from

    @property
    def failed(self) -> tuple[str, ...]:
        """The criteria that it does not meet, in words."""
        found = (
            (self.figures["macro_f1"].value > MACRO_F1_MIN, f"macro F1 is not above {MACRO_F1_MIN}"),
            (self.cost.p95_ms < P95_MS_MAX, f"p95 is not below {P95_MS_MAX:g} ms"),
            (self.cost.size_mb < SIZE_MB_MAX, f"the graph is not below {SIZE_MB_MAX:g} MB"),
        )
        return tuple(words for holds, words in found if not holds)


@dataclass(frozen=True, slots=True)
class Difference:
    """How a candidate differs from the best one, on the same photographs: candidate minus best."""

    name: str
    figures: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidates in the order of their macro F1, the best first; those whose figures are inherited stand last."""

    measured: str  # on what, and how
    processor: str  # that times were measured on
    data: str
    fingerprint: str
    photos: int
    candidates: tuple[Candidate, ...]
    differences: tuple[Difference, ...]  # of every candidate with figures of its own but the best
    choice: str | None  # a candidate's name; None where none meets the criteria
    why: str

    @property
    def p_values(self) -> Mapping[tuple[str, str], float]:
        """(model, figure) -> that the difference from the best is luck, corrected for all of them."""
        return several.corrected(
            {(each.name, name): interval for each in self.differences for name, interval in each.figures.items()}
        )

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        p_values = self.p_values
        return {
            "measured": self.measured,
            "processor": self.processor,
            "photos": self.photos,
            "models": {
                each.name: {
                    "version": each.version,
                    "figures_inherited": each.inherited,
                    **{name: interval.value for name, interval in each.figures.items()},
                    "intervals": {name: interval.pair() for name, interval in each.figures.items()},
                    "per_class_f1": dict(each.per_class_f1),
                    "accepted": each.accepted,
                    "accepted_accuracy": each.accepted_accuracy,
                    "ood_auroc": dict(each.ood_auroc),
                    "size_mb": each.cost.size_mb,
                    "p50_ms": each.cost.p50_ms,
                    "p95_ms": each.cost.p95_ms,
                    "cpu_ms": each.cost.cpu_ms,
                    "peak_mib": each.cost.peak_mib,
                    "training_s": each.training.took_s if each.training else None,
                    "training_peak_mib": each.training.peak_mib if each.training else None,
                    "criteria_failed": list(each.failed),
                }
                for each in self.candidates
            },
            "differences_from_best": {
                each.name: {
                    name: several.told(interval, p_values[each.name, name]) for name, interval in each.figures.items()
                }
                for each in self.differences
            },
            "corrected": several.words(len(p_values)),
            "choice": self.choice,
            "why": self.why,
        }


def compare_runs(
    runs: Sequence[Path],
    *,
    threads: int,
    noted: Sequence[TrackedRun] = (),
    seed: int = 0,
    say: Progress | None = None,
) -> Comparison:
    """Runs of the same photographs, by the out-of-fold answers that they keep.  noted: where trainings are looked up.

    Where the network of one has learnt, whole versions are compared: it has no heads on all photographs outside a fold,
    and those of the others learnt from more photographs than it may.
    An 8-bit run keeps those of the fp32 run that it was made from: they are shown as such, and compared with nothing.
    Raises ModelUnreadable for what is no run, SettingWrong where their photographs differ.
    """
    opened = []
    for number, run in enumerate(runs):
        if say is not None:
            say("Reading runs", number, len(runs))
        opened.append((GraphModel.open(run, threads=threads), records_of(run)))
    names, inherited = _names(runs), [model.card.graph.form != "fp32" for model, _ in opened]
    tuned = [
        name
        for name, (model, _) in zip(names, opened, strict=True)
        if model.card.training.config.get("tuning") is not None
    ]
    key = "predicted" if tuned else "head_predicted"
    read = [
        (model, answers_of(document, run, key), auroc_in(document))
        for run, (model, document) in zip(runs, opened, strict=True)
    ]
    first = read[0][0].card.data.fingerprint
    for run, (model, _, _) in zip(runs, read, strict=True):
        if model.card.data.fingerprint != first:  # names and labels may be the same
            raise SettingWrong(_OTHERS.format(run=run, first=runs[0]))
    measured = (
        f"{counted(len(read[0][1].files), 'photograph')}, each answered out of fold by the run's own cross-validation: "
        f"{_by_whom(tuned)}"
    )
    if any(inherited):
        copies = [name for name, copied in zip(names, inherited, strict=True) if copied]
        measured += f"; of {' and '.join(copies)} by that of the fp32 run that it was made from"
    data = read[0][0].card.data
    return _compared(
        names,
        read,
        runs,
        inherited=inherited,
        measured=measured,
        data=data.name,
        fingerprint=data.fingerprint,
        noted=noted,
        seed=seed,
    )


def compare_models(
    models: Sequence[Path],
    data: Path,
    outside: Sequence[OutsideSet] = (),
    *,
    threads: int,
    noted: Sequence[TrackedRun] = (),
    seed: int = 0,
    say: Progress | None = None,
) -> Comparison:
    """Models on photographs that none of them was trained on, through the graphs that are served.

    Raises what `evaluate` raises; SettingWrong where a model was trained on these photographs.
    """
    read = []
    known = []
    for number, path in enumerate(models):
        if say is not None:
            say("Measuring models", number, len(models))
        model = GraphModel.open(path, threads=threads)
        found = evaluate(model, data, outside)
        if found.trained_on:
            raise SettingWrong(
                f"{path} was trained on the photographs of {data} ({found.trained_on.said}): keep some aside to "
                f"compare on, or compare runs without --data, by their cross-validation"
            )
        document = found.document()
        rows = [row for row in document["predictions"] if row["label"] is not None]
        areas = {name: row["auroc"] for name, row in document["ood"].items()}
        read.append((model, answers_in(rows, "predicted"), areas))
        known += [
            f"{count} of {counted(found.outside[name].photos, 'photograph')} of {name} placed the borders of {path}"
            for name, count in found.placed_borders.items()
            if count
        ]
    name = data.resolve().name
    measured = "; ".join(
        [f"{counted(len(read[0][1].files), 'photograph')} of {name}, through the graphs that are served", *known]
    )
    return _compared(
        _names(models),
        read,
        models,
        inherited=[False] * len(read),
        measured=measured,
        data=name,
        fingerprint=found.fingerprint,
        noted=noted,
        seed=seed,
    )


def _compared(
    names: Sequence[str],
    read: Sequence[tuple[GraphModel, Answers, Mapping[str, float]]],
    paths: Sequence[Path],
    *,
    inherited: Sequence[bool],
    measured: str,
    data: str,
    fingerprint: str,
    noted: Sequence[TrackedRun],
    seed: int,
) -> Comparison:
    first = read[0][1]
    for path, (_, answers, _) in zip(paths, read, strict=True):
        if (answers.files, answers.labels) != (first.files, first.labels):
            raise SettingWrong(_OTHERS.format(run=path, first=paths[0]))
    classes = sorted(set(first.labels))
    labels = np.array([classes.index(label) for label in first.labels])
    tables = [_table(answers, labels, classes) for _, answers, _ in read]
    strata = [labels]
    together = next((answers.groups for _, answers, _ in read if answers.groups is not None), None)
    if together is None:
        measured += "; the runs do not say which of them are copies or views of one object: each counts alone"
    # One pass over the resamples for all models: their differences are then of the same photographs.
    intervals = bootstrap_all(
        lambda rows: np.concatenate([table(rows) for table in tables]), strata, seed=seed, groups=[together]
    )
    width = len(FIGURES)
    costs = costs_of([model for model, _, _ in read], paths)
    candidates = [
        Candidate(
            name=name,
            version=model.card.version,
            figures=_figures(intervals[number * width : (number + 1) * width], answers, together, seed=seed),
            per_class_f1=_f1(answers, labels, classes),
            accepted=float(answers.accepted.mean()),
            accepted_accuracy=_accuracy_of_accepted(answers),
            ood_auroc=areas,
            cost=costs[number],
            training=training_of(path, noted),
            inherited=inherited[number],
        )
        for number, (name, path, (model, answers, areas)) in enumerate(zip(names, paths, read, strict=True))
    ]
    order = sorted(
        range(len(candidates)),
        key=lambda number: (inherited[number], -candidates[number].figures["macro_f1"].value, number),
    )
    best = order[0]
    others = [number for number in order[1:] if not inherited[number]]
    gaps = bootstrap_all(
        lambda rows: np.concatenate([tables[number](rows) - tables[best](rows) for number in others] or [np.zeros(0)]),
        strata,
        seed=seed,
        groups=[together],
    )
    alone = effective(np.arange(len(labels)) if together is None else together, labels)
    differences = tuple(
        Difference(candidates[number].name, _gap(gaps[place * width : (place + 1) * width], alone))
        for place, number in enumerate(others)
    )
    ordered = tuple(candidates[number] for number in order)
    choice, why = decide(ordered, differences)
    return Comparison(measured, processor(), data, fingerprint, len(labels), ordered, differences, choice, why)


def decide(candidates: Sequence[Candidate], differences: Sequence[Difference]) -> tuple[str | None, str]:
    """The candidate to take, and why: the best, or a clearly faster one that is shown to be as good.

    As good is what the 95 % interval of its difference keeps within NOT_WORSE_BY of the best (non-inferiority: Piaggio
    and others, JAMA 2012, 308: 2594); that a difference could be luck shows nothing where photographs are few.
    One whose figures are inherited is not taken: what it answers was not measured.
    """
    unmeasured = [each.name for each in candidates if each.inherited]
    measured = [each for each in candidates if not each.inherited]
    if not unmeasured:
        return _decided(candidates, differences)
    wanted = (
        f"The figures of {' and '.join(unmeasured)} are inherited from the fp32 run and say nothing of 8 bits: give "
        f"photographs that no model was trained on (--data) to decide between forms."
    )
    if len(measured) < 2:
        return None, wanted
    choice, why = _decided(measured, differences)
    return choice, f"{why} {wanted}"


def _decided(candidates: Sequence[Candidate], differences: Sequence[Difference]) -> tuple[str | None, str]:
    passed = [each for each in candidates if not each.failed]
    best = candidates[0]
    if not passed:
        return None, f"None meets the criteria: of the best, {best.name}, {' and '.join(best.failed)}."
    behind = {each.name: each.figures["macro_f1"] for each in differences}
    # Of several that answer as well as each other, none has to be shown to.
    highest = [each for each in passed if each.figures["macro_f1"].value == passed[0].figures["macro_f1"].value]
    top = _quickest(highest, passed[0])
    as_good = [each for each in passed if each.name not in behind or behind[each.name].low > -NOT_WORSE_BY]
    chosen = _quickest(as_good, top)
    facts = (
        f"macro F1 {chosen.figures['macro_f1'].value:.3f}, p95 {chosen.cost.p95_ms:.0f} ms, "
        f"{chosen.cost.size_mb:.1f} MB"
    )
    highest_of = "the highest macro F1"
    if best.failed:
        highest_of += f" of those that meet the criteria (of {best.name}, {' and '.join(best.failed)})"
    if chosen is top:
        return chosen.name, (
            f"{chosen.name}: {highest_of}, and no clearly faster one is shown to lose less than "
            f"{NOT_WORSE_BY:g} ({facts})."
        )
    gap = behind[chosen.name]
    return chosen.name, (
        f"{chosen.name}: clearly faster than {top.name}, {highest_of}, and surely loses less than {NOT_WORSE_BY:g} "
        f"against {best.name} ({gap.value:+.3f} macro F1, {gap.low:+.3f} to {gap.high:+.3f}) ({facts})."
    )


def _quickest(candidates: Sequence[Candidate], than: Candidate) -> Candidate:
    """Of those that are clearly faster; `than` where none is."""
    quick = [each for each in candidates if each.cost.p95_ms <= _FASTER_SHARE * than.cost.p95_ms]
    return min(quick or [than], key=lambda each: (each.cost.p95_ms, each.cost.size_mb))


def _table(
    answers: Answers, labels: NDArray[np.intp], classes: Sequence[str]
) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
    """FIGURES of some rows."""
    # An answer that is no photograph's label is wrong whichever it is; it needs a number of its own.
    known = {label: number for number, label in enumerate(sorted({*classes, *answers.predicted}, key=_after(classes)))}
    predicted = np.array([known[label] for label in answers.predicted])
    correct = np.array([mine == truth for mine, truth in zip(answers.confident, answers.labels, strict=True)])

    def measured(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.array(
            [
                metrics.balanced_accuracy(labels[rows], predicted[rows]),
                metrics.macro_f1(labels[rows], predicted[rows]),
                metrics.confidence_error(answers.confidence[rows], correct[rows]),
            ]
        )

    return measured


def _figures(
    found: Sequence[Interval], answers: Answers, together: NDArray[np.intp] | None, *, seed: int
) -> dict[str, Interval]:
    figures = dict(zip(FIGURES, found, strict=True))
    labels = np.unique(answers.labels, return_inverse=True)[1]
    groups = np.arange(len(labels)) if together is None else together
    return {
        "balanced_accuracy": of_class_mean(figures["balanced_accuracy"], groups, labels),
        "macro_f1": of_class_mean(figures["macro_f1"], groups, labels),
        "ece": metrics.calibration_interval(figures["ece"], answers.confidence, seed=seed, groups=together),
    }


def _gap(found: Sequence[Interval], photos: float) -> dict[str, Interval]:
    """photos: how many independent ones the models were compared on."""
    figures = dict(zip(FIGURES, found, strict=True))
    return {
        "balanced_accuracy": of_difference(figures["balanced_accuracy"], photos),
        "macro_f1": of_difference(figures["macro_f1"], photos),
        "ece": reflected(figures["ece"]),
    }


def _after(classes: Sequence[str]) -> Callable[[str], tuple[bool, str]]:
    """Sorts the labels of photographs before all other names."""
    return lambda label: (label not in classes, label)


def _f1(answers: Answers, labels: NDArray[np.intp], classes: Sequence[str]) -> dict[str, float]:
    other = len(classes)
    predicted = np.array([classes.index(label) if label in classes else other for label in answers.predicted])
    scores = metrics.class_scores(labels, predicted, classes=other + 1)[:other]
    return {label: scores[number].f1 or 0.0 for number, label in enumerate(classes)}


def _accuracy_of_accepted(answers: Answers) -> float | None:
    right = np.array([mine == truth for mine, truth in zip(answers.confident, answers.labels, strict=True)])
    return float(right[answers.accepted].mean()) if answers.accepted.any() else None


def _by_whom(tuned: Sequence[str]) -> str:
    """tuned: the runs whose network has learnt."""
    if not tuned:
        return "by heads fitted on all photographs outside the fold"
    return f"by whole versions, as the network of {' and '.join(tuned)} learns and has no head on more photographs"


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart, as pages and JSON can hold them."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise SettingWrong("a model is named twice: compare different ones")
    if len(paths) < 2:
        raise SettingWrong("a comparison needs at least two models")
    for parts in range(1, max(len(path.resolve().parts) for path in paths) + 1):
        names = [printable("/".join(path.resolve().parts[-parts:])) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different paths end differently")
