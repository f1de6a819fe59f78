"""Experiments as people read them: what to do and why, then the figures side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from markupsafe import Markup

from training.evaluation import several
from training.evaluation.unseen import how_left_out
from training.experiments import compare
from training.experiments.ablate import Ablation
from training.experiments.calibrators import SERVED, Calibrators
from training.experiments.compare import Comparison
from training.experiments.detectors import UNSEEN, Detectors
from training.listing import counted
from training.pages import charts, render
from training.statistics.intervals import Interval

_FIGURE_WORDS: Final = {
    "balanced_accuracy": "balanced accuracy",
    "balanced_accuracy_version": "balanced accuracy of whole versions",
    "balanced_accuracy_other_table": "balanced accuracy on another table",
    "macro_f1": "macro F1",
    "minority_f1": "F1 of the classes of few photographs",
    "ece": "calibration error",
}


def comparison_page(found: Comparison) -> str:
    """The whole report as one HTML file that needs nothing else."""
    p_values = found.p_values
    return render(
        "experiments/comparison.html.j2",
        found=found,
        classes=list(found.candidates[0].per_class_f1),
        outside=sorted({name for each in found.candidates for name in each.ood_auroc}),
        rows=[
            {"each": each, "cells": {name: cell(interval) for name, interval in each.figures.items()}}
            for each in found.candidates
        ],
        differences=[
            {
                "name": each.name,
                "cells": [
                    difference(name, interval, p_value=p_values[each.name, name])
                    for name, interval in each.figures.items()
                ],
            }
            for each in found.differences
        ],
        corrected=several.words(len(p_values)),
        criteria=f"macro F1 above {compare.MACRO_F1_MIN}, p95 below {compare.P95_MS_MAX / 1000:g} s, graph below "
        f"{compare.SIZE_MB_MAX:g} MB",
        margin=compare.NOT_WORSE_BY,
    )


def cell(interval: Interval) -> Markup:
    """A figure with its interval, drawn."""
    drawn = charts.whisker(interval.value, interval.low, interval.high, width=76)
    return Markup("{}{}").format(drawn, f"{interval.value:.3f}")


def difference(name: str, interval: Interval, *, p_value: float | None = None) -> dict[str, Any]:
    """A calibration error is better when it is lower; everything else when it is higher.

    p_value: corrected for all that stand beside it; without, it is held against its own interval alone.
    """
    sure = interval.sure if p_value is None else p_value < several.ALPHA
    better = (interval.value < 0.0) if name == "ece" else (interval.value > 0.0)
    return {
        "drawn": charts.whisker(
            interval.value,
            interval.low,
            interval.high,
            ends=(-0.3, 0.3),
            guide=0.0,
            width=110,
            colour=charts.COLOURS[1],
        ),
        "text": f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})",
        "tone": "" if not sure else ("good" if better else "bad"),
        "mark": "" if not sure else (", better" if better else ", worse"),  # of what the tone alone would say
    }


def ablation_page(found: Ablation) -> str:
    """The whole report as one HTML file that needs nothing else."""
    of_figures, of_classes = found.p_values, found.per_class_p_values
    return render(
        "experiments/ablation.html.j2",
        found=found,
        corrected=several.words(len(of_figures)),
        corrected_classes=several.words(len(of_classes)),
        sentences=list(ablation_sentences(found)),
        words=[_FIGURE_WORDS[name] for name in found.rows[0].figures],
        classes=list(found.rows[0].per_class_f1),
        outside=list(found.rows[0].auroc),
        rows=[
            {
                "name": row.variant.name,
                "figures": [cell(interval) for interval in row.figures.values()],
                "differences": [
                    difference(name, interval, p_value=of_figures[row.variant.name, name])
                    for name, interval in row.differences.items()
                ],
                "auroc": row.auroc,
                "per_class_f1": [cell(interval) for interval in row.per_class_f1.values()],
                "per_class_f1_differences": [
                    difference(name, interval, p_value=of_classes[row.variant.name, name])
                    for name, interval in row.per_class_f1_differences.items()
                ],
            }
            for row in found.rows
        ],
    )


def ablation_sentences(found: Ablation) -> Iterator[str]:
    """What is more than luck, corrected for all variants and figures, and what is not."""
    p_values = found.p_values
    base = found.rows[0]
    here, there = (base.figures[name].value for name in ("balanced_accuracy", "balanced_accuracy_other_table"))
    yield f"{base.variant.name}: balanced accuracy {here:.3f}, and {there:.3f} with the objects on other tables."
    for row in found.rows[1:]:
        sure = [
            f"{_FIGURE_WORDS[name]} {interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
            for name, interval in row.differences.items()
            if p_values[row.variant.name, name] < several.ALPHA
        ]
        yield f"{row.variant.name}: {', '.join(sure)}." if sure else f"{row.variant.name}: nothing beyond luck."


def detectors_page(found: Detectors) -> str:
    """The whole report as one HTML file that needs nothing else."""
    p_values = found.p_values
    best = found.rows[0]
    how = how_left_out(found.classes)
    classes = f"each of {found.classes} classes left out in turn{f' ({how})' if how else ''}"
    return render(
        "experiments/table.html.j2",
        title=f"{len(found.rows)} scores of what is out of distribution",
        measured=f"{_photographs(found)}, {classes}, "
        f"{_seeds(found)}: AUROC against held-out photographs of the other classes",
        sentences=[
            f"An object of a class that was never learnt is told best by {best.name}: AUROC "
            f"{best.auroc[UNSEEN].value:.3f} ({best.auroc[UNSEEN].low:.3f} to {best.auroc[UNSEEN].high:.3f})."
        ],
        columns=list(best.auroc),
        rows=[{"name": row.name, "cells": [cell(interval) for interval in row.auroc.values()]} for row in found.rows],
        differences=[
            {
                "name": row.name,
                "cells": [
                    difference(name, interval, p_value=p_values.get((row.name, name), 1.0))
                    for name, interval in row.differences.items()
                ],
            }
            for row in found.rows
        ],
        against="all of the graph",
        corrected=several.words(len(p_values)),
    )


def calibrators_page(found: Calibrators) -> str:
    """The whole report as one HTML file that needs nothing else."""
    p_values = found.p_values
    best = found.rows[0]
    return render(
        "experiments/table.html.j2",
        title=f"{len(found.rows)} ways to make probabilities",
        measured=f"{_photographs(found)}, {found.folds}-fold cross-validation of whole versions, {_seeds(found)}; "
        "lower is better",
        sentences=[f"Held-out photographs surprise {best.name} least: {best.figures['nll'].value:.3f} nats."],
        columns=["calibration error", "surprise (nats)", "Brier", "error on other tables", "surprise there"],
        rows=[{"name": row.name, "cells": [cell(interval) for interval in row.figures.values()]} for row in found.rows],
        differences=[
            {
                "name": row.name,
                "cells": [
                    difference("ece", interval, p_value=p_values.get((row.name, name), 1.0))
                    for name, interval in row.differences.items()
                ],
            }
            for row in found.rows
        ],
        against=SERVED,
        corrected=several.words(len(p_values)),
    )


def _photographs(found: Detectors | Calibrators) -> str:
    return f"{counted(found.photos, 'photograph')} of {found.data} (fingerprint {found.fingerprint[:12]})"


def _seeds(found: Detectors | Calibrators) -> str:
    return (
        f"means over the seeds {', '.join(map(str, found.seeds))}" if len(found.seeds) > 1 else f"seed {found.seeds[0]}"
    )
