"""A run's figures as a page: the verdict in words first, then what it rests on, then everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from model_store.card import Card, MetricCard
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.verdict import Decision
from protos.wording import DISCLAIMER
from training.calibration import temperature
from training.data.folder import Photo
from training.evaluation import course, judgement
from training.evaluation.assessment import Answered, Assessment, ClassRow, GroupRow
from training.evaluation.judgement import OutsideSeen
from training.evaluation.look_alikes import LookAlikes
from training.evaluation.unseen import how_left_out
from training.explanation.contrast import contrast, contrasted
from training.explanation.overlay import overlaid
from training.ood import thresholds
from training.pages import charts, pictures, render, settings_rows
from training.pages.charts import Border, Line
from training.served.answers import GraphModel, reason_names, verdict_name
from training.statistics import metrics
from training.statistics.intervals import Interval

MISTAKES_SHOWN_MAX: Final = 18
UNSEEN_SHOWN_MAX: Final = 30  # classes, the hardest first; metrics.json lists all
_CURVE_POINTS_MAX: Final = 400
_SCORE_RANGE: Final = (-1.0, 4.0)  # OOD scores: 0 is typical, 1 the border to "out"; beyond 4 nothing is new
_FIGURE_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "accuracy": ("Accuracy", "share of photographs named rightly"),
    "balanced_accuracy": ("Balanced accuracy", "mean over classes, each counting the same"),
    "macro_f1": ("Macro F1", "mean over classes of precision and recall together"),
    "ece": ("Calibration error (ECE, 15 bins)", "gap between what it says and how often that is right"),
    "brier": ("Brier score", "squared distance to certainty in the truth, 0 to 2"),
    "nll": ("Negative log-likelihood", "of the true class, in nats"),
    "aurc": ("Risk over coverage (AURC)", "mean share of mistakes if only the surest were answered"),
}


@dataclass(frozen=True, slots=True)
class OutsideShown:
    """A set of other things on the page."""

    seen: OutsideSeen
    scores: NDArray[np.floating]  # [m]; 1 is the border to "out"
    placed_borders: int | None = None  # how many of them did: what is called out is too good then; None: not told


@dataclass(frozen=True, slots=True)
class Mistake:
    """A photograph that was named wrongly, with what speaks for the answer and for the truth."""

    file: str
    label: str
    predicted: str
    confidence: float
    verdict: str
    reasons: tuple[str, ...]
    photograph: str  # data: URLs
    for_answer: str
    for_truth: str
    contrast: str  # what speaks for the answer against the truth, and the other way


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything that a page is made of."""

    card: Card
    measured: str  # how, in one sentence
    explained_by: str  # which model made the heat maps, in one sentence; empty where that is plain
    answered: Answered
    assessment: Assessment
    outside: Mapping[str, OutsideShown]
    unseen: Mapping[str, float]  # class -> AUROC of a version that never saw it
    mistakes: tuple[Mistake, ...]
    mistakes_in_all: int
    card_figures: tuple[MetricCard, ...]  # shown as they stand on the card; empty for another data set than the card's
    facts: tuple[tuple[str, str], ...]  # of the data that was measured on
    trained_on: str = ""  # how many of the photographs were, in words; empty where none was
    course: Mapping[str, Any] | None = None  # how the network was tuned: `finetune.Tuned.document`


def page(subject: Subject) -> str:
    """The whole report as one HTML file that needs nothing else."""
    found = subject.assessment
    verdict = judgement.judge(
        found,
        {name: shown.seen for name, shown in subject.outside.items()},
        subject.unseen,
        trained_on=subject.trained_on,
    )
    names = {item.id: dict(item.names) for item in subject.card.classes}
    return render(
        "evaluation/report.html.j2",
        subject=subject,
        card=subject.card,
        found=found,
        verdict=verdict,
        tiles=_tiles(subject),
        figures=[_figure_row(name, interval) for name, interval in found.figures.items()],
        versions_balanced=_versions_balanced(subject.answered),
        classes=[_class_cells(row, names.get(row.label, {})) for row in found.per_class],
        confusion=_confusion(found),
        confused=judgement.confusions(found),
        reliability=charts.reliability(
            [(row.confidence, row.accuracy, row.photos) for row in found.reliability if row.photos]
        ),
        risk=charts.lines(
            [_accuracy_by_share(found)],
            x_name="share of photographs answered, the surest first",
            y_name="accuracy among them",
            y_range=(_floor(1.0 - float(found.risk_coverage.risk.max())), 1.0),
        ),
        scores=_score_histogram(subject),
        unseen=sorted(subject.unseen.items(), key=lambda item: item[1])[:UNSEEN_SHOWN_MAX],
        unseen_in_all=len(subject.unseen),
        how_left_out=how_left_out(len(subject.card.classes)),
        whisker=lambda interval, **more: charts.whisker(interval.value, interval.low, interval.high, width=90, **more),
        by_side=[_group_cells(row) for row in found.by_side],
        by_quality=[_group_cells(row) for row in found.by_quality],
        by_table=[_group_cells(row) for row in found.by_table],
        named_wrongly=int(found.counts.sum() - np.trace(found.counts)),
        disclaimer=DISCLAIMER,
        temperature=temperature.said(subject.card.temperature),
        few_borders=thresholds.few(subject.card.data.split.counts.get("thresholds")),
        failures=failures_of(subject.mistakes, found.look_alikes),
        course=course.shown(subject.course),
        settings=list(settings_rows(subject.card.training.config)),
    )


def mistakes_of(photos: Sequence[Photo], answered: Answered, model: GraphModel) -> tuple[tuple[Mistake, ...], int]:
    """The worst mistakes, and how many there are: first those called in domain, then the surest.

    model: what draws the heat maps.
    """
    probabilities = answered.probabilities
    best = probabilities.argmax(axis=1)
    wrong = [int(row) for row in np.flatnonzero(best != answered.labels)]
    wrong.sort(key=lambda row: (_abstains(answered.decisions[row]), -float(probabilities[row].max())))
    shown = wrong[:MISTAKES_SHOWN_MAX]
    found = tuple(_mistake(photos[row], answered, row, model) for row in shown)
    return found, len(wrong)


def _mistake(photo: Photo, answered: Answered, row: int, model: GraphModel) -> Mistake:
    pixels = model.seen(photo)
    answer, truth = int(answered.probabilities[row].argmax()), int(answered.labels[row])
    decision = answered.decisions[row]
    return Mistake(
        file=photo.relative,
        label=answered.classes[truth],
        predicted=answered.classes[answer],
        confidence=float(answered.probabilities[row].max()),
        verdict=verdict_name(decision.verdict),
        reasons=tuple(reason_names(decision.reasons)),
        photograph=pictures.photograph(pixels),
        for_answer=_explained(model, pixels, answer),
        for_truth=_explained(model, pixels, truth),
        contrast=pictures.encoded(
            contrasted(pixels, contrast(model, [pixels], answer, truth)[0], side_px=pictures.SHOWN_PX)
        ),
    )


@dataclass(frozen=True, slots=True)
class Failures:
    """The shown mistakes between two classes, either way."""

    classes: tuple[str, str]
    mistakes: tuple[Mistake, ...]
    look_alikes: tuple[str, ...]  # sentences on the pair, by side


def failures_of(mistakes: Sequence[Mistake], pairs: Sequence[LookAlikes]) -> tuple[Failures, ...]:
    """Mistakes by pair: first the pair with most of them, each in the order given."""
    by_pair: dict[tuple[str, str], list[Mistake]] = {}
    for mistake in mistakes:
        first, second = sorted((mistake.label, mistake.predicted))
        by_pair.setdefault((first, second), []).append(mistake)
    return tuple(
        Failures(classes, tuple(own), tuple(pair.said for pair in pairs if tuple(sorted(pair.classes)) == classes))
        for classes, own in sorted(by_pair.items(), key=lambda item: -len(item[1]))
    )


def _explained(model: GraphModel, pixels: NDArray[np.uint8], target: int) -> str:
    _, maps = model.explain([pixels], target)
    return pictures.encoded(overlaid(pixels, maps[0], side_px=pictures.SHOWN_PX))


def _abstains(decision: Decision) -> bool:
    return decision.verdict != words.VERDICT_IN_DOMAIN


def _tiles(subject: Subject) -> list[dict[str, Any]]:
    found = subject.assessment
    balanced, error = found.figures["balanced_accuracy"], found.figures["ece"]
    scores = [f1.value for row in found.per_class if row.photos and (f1 := row.figures["f1"]) is not None]
    tiles = [
        _tile(balanced.value, "balanced accuracy", balanced, at_least=judgement.BALANCED_ACCURACY_MIN),
        _tile(min(scores), "lowest F1 of a class", None, at_least=judgement.CLASS_F1_MIN),
        _tile(error.value, "calibration error", error, at_most=judgement.ECE_MAX),
    ]
    if found.accepted_accuracy is not None:
        tiles.append(
            {
                "value": f"{found.accepted_accuracy:.0%}",
                "label": f"right of the {found.accepted:.0%} it accepts",
                "range": "",
                "wanted": "",
                "tone": "",
            }
        )
    for name, shown in subject.outside.items():
        area = shown.seen.auroc
        tiles.append(_tile(area.value, f"AUROC, {name}", area, at_least=judgement.OUTSIDE_AUROC_MIN))
    if subject.unseen:
        mean = float(np.mean(list(subject.unseen.values())))
        tiles.append(_tile(mean, "AUROC, a class never seen", None, at_least=judgement.UNSEEN_AUROC_MIN))
    return tiles


def _tile(
    value: float, label: str, interval: Interval | None, *, at_least: float = -np.inf, at_most: float = np.inf
) -> dict[str, Any]:
    """Its colour says whether it holds one of the two bars, which stands in words beside it."""
    holds = at_least <= value <= at_most
    bar = f"{at_least:.2f} or more" if np.isfinite(at_least) else f"{at_most:.2f} or less"
    return {
        "value": f"{value:.3f}",
        "label": label,
        "range": f"{interval.low:.3f} to {interval.high:.3f}" if interval else "",
        "wanted": f"{'✓' if holds else '✗'} wanted {bar}",
        "tone": "good" if holds else "bad",
    }


def _versions_balanced(answered: Answered) -> float | None:
    """Balanced accuracy of the answers that confidence is of; None where all figures are of the same ones."""
    best = answered.probabilities.argmax(axis=1)
    if np.array_equal(best, answered.predicted):
        return None
    return metrics.balanced_accuracy(answered.labels, best)


def _figure_row(name: str, interval: Interval) -> dict[str, Any]:
    title, meaning = _FIGURE_WORDS[name]
    ends = {"brier": (0.0, 2.0), "nll": (0.0, max(2.0, interval.high)), "aurc": (0.0, max(0.5, interval.high))}
    return {
        "title": title,
        "meaning": meaning,
        "interval": interval,
        "whisker": charts.whisker(interval.value, interval.low, interval.high, ends=ends.get(name, (0.0, 1.0))),
    }


def _class_cells(row: ClassRow, names: Mapping[str, str]) -> dict[str, Any]:
    f1 = row.figures["f1"]
    return {
        "row": row,
        "names": " · ".join(dict.fromkeys(names[tag] for tag in ("en", "th") if tag in names)),
        "cells": {
            name: Markup("–") if interval is None else _cell(interval, colour)
            for (name, interval), colour in zip(
                ((name, row.figures[name]) for name in ("precision", "recall", "f1")), charts.COLOURS, strict=False
            )
        },
        "bad": f1 is not None and row.photos > 0 and f1.value < judgement.CLASS_F1_MIN,
    }


def _cell(interval: Interval, colour: str) -> Markup:
    drawn = charts.whisker(interval.value, interval.low, interval.high, colour=colour, width=64)
    return Markup("{}{}").format(drawn, f"{interval.value:.2f}")


def _group_cells(row: GroupRow) -> dict[str, Any]:
    drawn = charts.whisker(row.accuracy.value, row.accuracy.low, row.accuracy.high, width=90)
    return {"row": row, "whisker": drawn}


def _confusion(found: Assessment) -> list[dict[str, Any]]:
    """Rows of cells, each with its share of the row, for the colour."""
    rows = []
    for number, label in enumerate(found.labels):
        counts = found.counts[number]
        total = max(int(counts.sum()), 1)
        cells = [
            {"count": int(count), "percent": round(100 * int(count) / total), "right": column == number}
            for column, count in enumerate(counts)
        ]
        rows.append({"label": label, "cells": cells})
    return rows


def _score_histogram(subject: Subject) -> Markup:
    known = np.array([decision.ood_score for decision in subject.answered.decisions])
    groups = [("photographs of the classes", known), *((name, shown.scores) for name, shown in subject.outside.items())]
    return charts.histogram(
        groups, [Border(1.0, "out of distribution")], x_name="OOD score: 0 typical, 1 the border", x_range=_SCORE_RANGE
    )


def _accuracy_by_share(found: Assessment) -> Line:
    """No more points than the chart has pixels: a page of 20,000 photographs stays small."""
    curve = found.risk_coverage
    shown = np.unique(np.linspace(0, len(curve.risk) - 1, _CURVE_POINTS_MAX).astype(int))
    return Line("accuracy", curve.coverage[shown].tolist(), (1.0 - curve.risk[shown]).tolist())


def _floor(value: float) -> float:
    """The round number below that a curve's axis may start at."""
    return float(max(0.0, np.floor(value * 5.0 - 0.2) / 5.0))
