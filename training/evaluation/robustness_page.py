"""Robustness as people read it: what hurts, whether the model notices, a curve for each degradation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from training.evaluation.robustness import Curve, Level, ModelRobustness, Robustness
from training.listing import counted
from training.pages import charts, pictures, render
from training.pages.charts import Line

_HURTS: Final = 0.1  # balanced accuracy lost
_SILENT: Final = 0.1  # accuracy lost among what is still called in domain
_FLAGGED_MIN: Final = 0.9  # share that the quality check remarks on: beyond, callers are told
_CHART_PX: Final = 300  # three to a row of the page, or one of a telephone: its letters keep their size
_ACCEPTED_MIN: Final = 0.1  # share in domain: below, there is hardly anything left to be wrong about


def page(subject: ModelRobustness) -> str:
    """The whole report as one HTML file that needs nothing else."""
    found = subject.found
    return render(
        "evaluation/robustness.html.j2",
        card=subject.card,
        measured=f"{counted(found.photos, 'photograph')} of {subject.path.resolve().name}, fingerprint "
        f"{subject.fingerprint[:12]}",
        trained_on=subject.trained_on.said,
        found=found,
        sentences=list(sentences(found)),
        silent=[curve.degradation.said for curve in found.curves if _passes_unseen(found.unchanged, curve)],
        rows=[_row(found, curve) for curve in sorted(found.curves, key=_mean)],
    )


def sentences(found: Robustness) -> Iterator[str]:
    """What to know, the worst first."""
    before = found.unchanged.balanced_accuracy.value
    yield (
        f"Balanced accuracy {before:.3f} on the photographs as they are, {found.mean_balanced_accuracy:.3f} on average "
        f"over {len(found.curves)} degradations at five strengths."
    )
    for curve in sorted(found.curves, key=_mean):
        hurt = next((level for level in curve.levels if before - level.balanced_accuracy.value >= _HURTS), None)
        if hurt is None:
            continue
        silent = _silent(found.unchanged, curve)
        if silent is None:
            notices = "but it notices: what it still calls in domain stays right"
        else:
            notices = (
                f"and it does not notice: at {silent.strength:g}, {silent.accepted_accuracy:.0%} of what it calls in "
                f"domain is right; the quality check remarks on {silent.flagged:.0%} of such photographs"
            )
        said = curve.degradation.said
        yield (
            f"{said[0].upper()}{said[1:]}: loses {100 * (before - hurt.balanced_accuracy.value):.0f} points from "
            f"{hurt.strength:g} {curve.degradation.unit} on, {notices}."
        )
    unhurt = [curve.degradation.said for curve in found.curves if all(_small(before, level) for level in curve.levels)]
    if unhurt:
        yield f"Hardly any difference at any strength: {', '.join(unhurt)}."


def _small(before: float, level: Level) -> bool:
    return before - level.balanced_accuracy.value < _HURTS


def _silent(unchanged: Level, curve: Curve) -> Level | None:
    """The weakest strength at which what is called in domain is wrong clearly more often than before."""
    if unchanged.accepted_accuracy is None:
        return None
    for level in curve.levels:
        if level.accepted_accuracy is None or level.verdicts["IN_DOMAIN"] < _ACCEPTED_MIN:
            continue
        if unchanged.accepted_accuracy - level.accepted_accuracy >= _SILENT:
            return level
    return None


def _passes_unseen(unchanged: Level, curve: Curve) -> bool:
    """Whether neither the model nor the quality check before it notices."""
    silent = _silent(unchanged, curve)
    return silent is not None and silent.flagged < _FLAGGED_MIN


def _mean(curve: Curve) -> float:
    return float(np.mean([level.balanced_accuracy.value for level in curve.levels]))


def _row(found: Robustness, curve: Curve) -> dict[str, Any]:
    levels = (found.unchanged, *curve.levels)
    places = [float(number) for number in range(len(levels))]
    balanced = [level.balanced_accuracy for level in levels]
    accepted = [
        (place, level) for place, level in zip(places, levels, strict=True) if level.accepted_accuracy is not None
    ]
    chart = charts.lines(
        [
            Line(
                "balanced accuracy",
                places,
                [each.value for each in balanced],
                [each.low for each in balanced],
                [each.high for each in balanced],
                dots=True,
            ),
            Line(
                "accuracy among in domain",
                [place for place, _ in accepted],
                [level.accepted_accuracy or 0.0 for _, level in accepted],
                dots=True,
            ),
            Line("called in domain", places, [level.verdicts["IN_DOMAIN"] for level in levels]),
            Line("flagged by the quality check", places, [level.flagged for level in levels]),
        ],
        x_name=curve.degradation.unit,
        y_name="",
        x_labels=["as it is", *(f"{level.strength:g}" for level in curve.levels)],
        width=_CHART_PX,
        height=200,
    )
    return {
        "said": curve.degradation.said,
        "chart": chart,
        "levels": curve.levels,
        "mean": _mean(curve),
        "pictures": [pictures.photograph(pixels) for pixels in found.samples.get(curve.degradation.name, ())],
    }
