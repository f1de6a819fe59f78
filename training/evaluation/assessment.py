"""How good a model's answers to photographs of known classes are: figures, tables and curves.

One computation for both roads that lead here, the answers of a served graph and the
out-of-fold answers of a training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import Decision
from training.data.quality import Flaw, Quality
from training.evaluation.levels import Grouping, LevelRow, level_rows
from training.evaluation.look_alikes import LookAlikes, look_alikes
from training.evaluation.views import MultiView, multi_view
from training.served.above import Above
from training.served.answers import reason_names, verdict_name
from training.statistics import metrics
from training.statistics.intervals import (
    Interval,
    bootstrap_all,
    effective,
    of_calibration_error,
    of_class_mean,
    share_of,
    with_room,
)
from training.statistics.metrics import CalibrationLuck, ReliabilityBin, RiskCoverage

FIGURES: Final = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "brier", "nll", "aurc")
BINNINGS: Final = (5, 10, 15, 20)
VERDICTS: Final = (words.VERDICT_IN_DOMAIN, words.VERDICT_UNSURE, words.VERDICT_OUT_OF_DISTRIBUTION)
_PER_CLASS: Final = ("precision", "recall", "f1", "accepted", "set_coverage", "set_size")
_BOTH_SIDES: Final = ("front", "back")  # every piece has them; an edge or a detail is shown where it matters
_THIRDS_FROM: Final = 9  # photographs; fewer in a third say nothing
_THIRDS: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType(
    {
        "sharpness_var": ("least sharp third", "middle third by sharpness", "sharpest third"),
        "brightness_ratio": ("darkest third", "middle third by brightness", "brightest third"),
        "contrast_ratio": ("flattest third", "middle third by contrast", "third with most contrast"),
    }
)


@dataclass(frozen=True, slots=True)
class Answered:
    """Photographs with what was said of each, n of each column in one order."""

    classes: tuple[str, ...]
    labels: NDArray[np.intp]
    groups: NDArray[np.intp]  # copies of one photograph and views of one object share a number
    predicted: NDArray[np.intp]  # what accuracies are measured on; a training has better heads to ask than its versions
    probabilities: NDArray[np.floating]  # [n, classes], calibrated; what confidence, verdicts and sets are of
    decisions: tuple[Decision, ...]
    sets: tuple[tuple[int, ...], ...]  # conformal; empty where the model promises none
    set_coverage: float  # what the sets promise; 0: there are none
    sides: tuple[str, ...]  # "front", "back", ..., "unknown"
    qualities: tuple[Quality, ...]
    flaws: tuple[tuple[Flaw, ...], ...]
    levels: tuple[Grouping, ...] = ()  # of the class tree, lowest first
    above: tuple[Above, ...] = ()  # what is said at them; empty without a tree
    objects: tuple[str, ...] = ()  # which one each photograph shows, "" where its name does not say; empty: none does
    tables: tuple[str, ...] = ()  # what each stands on, as `evaluation.tables` names it; empty: nobody looked


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class. A figure that nothing can be said of is None."""

    label: str
    photos: int
    independent: float  # of them, as of an assessment's; 0 where there are none
    answered: int
    figures: Mapping[str, Interval | None]  # _PER_CLASS


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Some of the photographs: a side, or a quality."""

    name: str
    photos: int
    accuracy: Interval
    balanced_accuracy: float
    macro_f1: float
    accepted: float  # share called in domain


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything that is said of the answers."""

    photos: int
    independent: float  # how many of them tell something of their own, as `intervals.effective` counts
    figures: Mapping[str, Interval]  # FIGURES
    per_class: tuple[ClassRow, ...]
    labels: tuple[str, ...]
    counts: NDArray[np.int64]  # confusion [true, predicted]
    reliability: tuple[ReliabilityBin, ...]
    calibration_errors: Mapping[str, float]  # by binning
    calibration_luck: CalibrationLuck  # beside the figure "ece"
    risk_coverage: RiskCoverage
    verdicts: Mapping[str, int]
    accepted: float
    accepted_accuracy: float | None  # None where nothing was accepted
    set_promised: float
    set_coverage: float | None  # None where no sets are promised
    set_size: float | None
    by_side: tuple[GroupRow, ...]
    by_quality: tuple[GroupRow, ...]
    levels: tuple[LevelRow, ...] = ()  # of the class tree, lowest first
    look_alikes: tuple[LookAlikes, ...] = ()
    by_table: tuple[GroupRow, ...] = ()
    multi_view: MultiView | None = None  # None: no object is known to have several photographs
    # "front" or "back", where a class shows it -> the classes with photographs, of which none does.
    sides_not_shown: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    # Why photographs are not called in domain, by the names of Reason: how many; one may have several.
    reasons: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def document(self) -> dict[str, Any]:
        """As JSON can carry it: the contract's names, and those added to them."""
        named = {name: self.figures[name].value for name in FIGURES}
        return {
            **{name: named[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")},
            "per_class_f1": {row.label: f1.value for row in self.per_class if (f1 := row.figures["f1"]) is not None},
            "per_class": {row.label: _class_document(row) for row in self.per_class},
            "confusion_matrix": {"labels": list(self.labels), "counts": self.counts.tolist()},
            **{name: named[name] for name in ("ece", "brier", "nll")},
            "calibration_errors": dict(self.calibration_errors),
            "ece_if_calibrated": asdict(self.calibration_luck),
            "reliability": [asdict(row) for row in self.reliability],
            "risk_coverage": {
                "aurc": self.risk_coverage.area,
                "excess_aurc": self.risk_coverage.excess_area,
                "coverage": self.risk_coverage.coverage.tolist(),
                "risk": self.risk_coverage.risk.tolist(),
            },
            "verdicts": dict(self.verdicts),
            "reasons": dict(self.reasons),
            "coverage": {
                "accepted": self.accepted,
                "accepted_accuracy": self.accepted_accuracy,
                "prediction_set_coverage": self.set_coverage,
                "prediction_set_size": self.set_size,
                "prediction_set_promised": self.set_promised or None,
            },
            "levels": {row.id: row.document() for row in self.levels},
            "look_alikes": [asdict(pair) for pair in self.look_alikes],
            "by_side": {row.name: _group_document(row) for row in self.by_side},
            "by_quality": {row.name: _group_document(row) for row in self.by_quality},
            "by_backdrop": {row.name: _group_document(row) for row in self.by_table},
            "multi_view": self.multi_view.document() if self.multi_view else None,
            "intervals": {name: self.figures[name].pair() for name in FIGURES},
        }


def assess(answered: Answered, *, seed: int = 0) -> Assessment:
    """seed: of the bootstrap; the same answers and seed give the same intervals. Raises ValueError on bad rows."""
    labels, predicted, probabilities = answered.labels, answered.predicted, answered.probabilities
    groups = answered.groups
    accepted = np.array([decision.verdict == words.VERDICT_IN_DOMAIN for decision in answered.decisions])
    right = probabilities.argmax(axis=1) == labels
    promised = answered.set_coverage > 0.0
    covered = np.array([label in found for label, found in zip(labels, answered.sets, strict=True)])
    sizes = np.array([len(found) for found in answered.sets])
    verdicts = Counter(decision.verdict for decision in answered.decisions)
    curve = metrics.risk_coverage(probabilities.max(axis=1), right)
    resampled = bootstrap_all(
        lambda rows: _figures(labels[rows], predicted[rows], probabilities[rows]), [labels], seed=seed, groups=[groups]
    )
    figures = dict(zip(FIGURES, resampled, strict=True))
    luck = metrics.luck_of_calibration(probabilities.max(axis=1), figures["ece"].value, seed=seed, groups=groups)
    figures["accuracy"] = share_of(int((predicted == labels).sum()), len(labels), groups=groups)
    figures["ece"] = of_calibration_error(figures["ece"], by_luck=luck.high)
    for name in ("balanced_accuracy", "macro_f1"):
        figures[name] = of_class_mean(figures[name], groups, labels)
    figures["aurc"] = with_room(figures["aurc"], effective(groups))
    return Assessment(
        photos=len(labels),
        independent=effective(groups),
        figures=figures,
        per_class=_per_class(answered, accepted, covered, sizes, seed=seed),
        labels=answered.classes,
        counts=metrics.confusion_matrix(labels, predicted, classes=len(answered.classes)),
        reliability=metrics.reliability(probabilities, labels),
        calibration_errors=_calibration_errors(probabilities, labels),
        calibration_luck=luck,
        risk_coverage=curve,
        verdicts={verdict_name(verdict): verdicts[verdict] for verdict in VERDICTS},
        accepted=float(accepted.mean()),
        accepted_accuracy=float(right[accepted].mean()) if accepted.any() else None,
        set_promised=answered.set_coverage,
        set_coverage=float(covered.mean()) if promised else None,
        set_size=float(sizes.mean()) if promised else None,
        by_side=_groups(answered, dict(_sides(answered.sides)), accepted),
        by_quality=_groups(answered, dict(_qualities(answered)), accepted),
        by_table=_groups(answered, dict(_named(answered.tables)), accepted),
        sides_not_shown=_sides_not_shown(answered),
        reasons=Counter(name for decision in answered.decisions for name in reason_names(decision.reasons)),
        multi_view=multi_view(answered.objects, probabilities, labels, seed=seed),
        look_alikes=look_alikes(answered.classes, labels, probabilities, answered.sides, groups),
        levels=level_rows(answered.levels, answered.above, probabilities, labels, groups),
    )


def _figures(
    labels: NDArray[np.intp], predicted: NDArray[np.intp], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """In the order of FIGURES."""
    return np.array(
        [
            metrics.accuracy(labels, predicted),
            metrics.balanced_accuracy(labels, predicted),
            metrics.macro_f1(labels, predicted),
            metrics.expected_calibration_error(probabilities, labels),
            metrics.brier(probabilities, labels),
            metrics.negative_log_likelihood(probabilities, labels),
            metrics.risk_coverage(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels).area,
        ]
    )


def _per_class(
    answered: Answered,
    accepted: NDArray[np.bool_],
    covered: NDArray[np.bool_],
    sizes: NDArray[np.intp],
    *,
    seed: int,
) -> tuple[ClassRow, ...]:
    classes = len(answered.classes)

    def measure(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        labels = answered.labels[rows]
        scores = metrics.class_scores(labels, answered.predicted[rows], classes=classes)
        with np.errstate(invalid="ignore"):  # a class without photographs has no mean
            size = np.bincount(labels, weights=sizes[rows], minlength=classes) / np.bincount(labels, minlength=classes)
        return np.concatenate([[_or_nan(each.f1) for each in scores], size])

    found = bootstrap_all(measure, [answered.labels], seed=seed, groups=[answered.groups])
    scores = metrics.class_scores(answered.labels, answered.predicted, classes=classes)
    rows = []
    for number, (label, score) in enumerate(zip(answered.classes, scores, strict=True)):
        own = answered.labels == number
        groups = answered.groups[own]
        figures = {
            "precision": _precision(score, answered.groups[answered.predicted == number]),
            "recall": share_of(score.hits, score.photos, groups=groups),
            "f1": with_room(found[number], effective(groups)) if score.photos else found[number],
            "accepted": share_of(int(accepted[own].sum()), score.photos, groups=groups),
            "set_coverage": share_of(int(covered[own].sum()), score.photos, groups=groups),
            "set_size": found[classes + number],
        }
        told = {
            name: None
            if np.isnan(interval.value) or (name.startswith("set_") and not answered.set_coverage)
            else interval
            for name, interval in figures.items()
        }
        independent = effective(groups) if score.photos else 0.0
        rows.append(ClassRow(label, score.photos, independent, score.answered, told))
    return tuple(rows)


def _precision(score: metrics.ClassScores, groups: NDArray[np.intp]) -> Interval:
    """groups: of the photographs that were called so."""
    return share_of(score.hits, score.answered if score.photos else 0, groups=groups)


def _calibration_errors(probabilities: NDArray[np.floating], labels: NDArray[np.intp]) -> dict[str, float]:
    """Several binnings: a figure that one of them flatters, another shows."""
    widths = {
        f"equal_width_{bins}": metrics.expected_calibration_error(probabilities, labels, bins=bins) for bins in BINNINGS
    }
    masses = {
        f"equal_mass_{bins}": metrics.equal_mass_calibration_error(probabilities, labels, bins=bins)
        for bins in BINNINGS
    }
    return {**widths, **masses, "classwise_15": metrics.classwise_calibration_error(probabilities, labels)}


def _sides(sides: Sequence[str]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Nothing where no photograph says which side it shows."""
    if set(sides) != {"unknown"}:
        yield from _named(sides)


def _sides_not_shown(answered: Answered) -> dict[str, tuple[str, ...]]:
    sides_of: dict[int, set[str]] = {}
    for label, side in zip(answered.labels.tolist(), answered.sides, strict=True):
        sides_of.setdefault(label, set()).add(side)
    # A photograph whose side nobody named may show any.
    told = {label: sides for label, sides in sorted(sides_of.items()) if "unknown" not in sides}
    return {
        side: tuple(answered.classes[label] for label, sides in told.items() if side not in sides)
        for side in _BOTH_SIDES
        if side in answered.sides and not all(side in sides for sides in told.values())
    }


def _named(values: Sequence[str]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    names = np.array(values)
    yield from ((str(name), names == name) for name in np.unique(names))


def _qualities(answered: Answered) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """By flaw, and by thirds of each measure: overlapping groups that each hold a photograph."""
    flawed = np.array([bool(found) for found in answered.flaws])
    if flawed.any() and not flawed.all():
        yield "no flaw found", ~flawed
    for flaw in Flaw:
        rows = np.array([flaw in found for found in answered.flaws])
        if rows.any():
            yield flaw.value.replace("_", " "), rows
    if len(flawed) < _THIRDS_FROM:
        return
    for measure, names in _THIRDS.items():
        values = np.array([getattr(quality, measure) for quality in answered.qualities])
        rank = np.empty(len(values), np.intp)
        rank[np.argsort(values, kind="stable")] = np.arange(len(values))
        for name, (first, last) in zip(names, pairwise(np.linspace(0, len(values), 4).astype(int)), strict=True):
            yield name, (rank >= first) & (rank < last)


def _groups(
    answered: Answered, members: Mapping[str, NDArray[np.bool_]], accepted: NDArray[np.bool_]
) -> tuple[GroupRow, ...]:
    labels, predicted = answered.labels, answered.predicted
    return tuple(
        GroupRow(
            name=name,
            photos=int(rows.sum()),
            accuracy=share_of(int((predicted == labels)[rows].sum()), int(rows.sum()), groups=answered.groups[rows]),
            balanced_accuracy=metrics.balanced_accuracy(labels[rows], predicted[rows]),
            macro_f1=metrics.macro_f1(labels[rows], predicted[rows]),
            accepted=float(accepted[rows].mean()),
        )
        for name, rows in members.items()
    )


def _class_document(row: ClassRow) -> dict[str, Any]:
    told = {name: interval for name, interval in row.figures.items() if interval is not None}
    return {
        "photos": row.photos,
        "answered": row.answered,
        **{name: told[name].value if name in told else None for name in _PER_CLASS},
        "intervals": {name: interval.pair() for name, interval in told.items()},
    }


def _group_document(row: GroupRow) -> dict[str, Any]:
    return {
        "photos": row.photos,
        "accuracy": row.accuracy.value,
        "balanced_accuracy": row.balanced_accuracy,
        "macro_f1": row.macro_f1,
        "accepted": row.accepted,
        "intervals": {"accuracy": row.accuracy.pair()},
    }


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
