"""How a network learnt, on the page: whether it memorised the photographs, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from training.pages import charts
from training.pages.charts import Line

CURVES: Final = ("photographs that it learns from", "photographs that are watched")
_LABELS_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class CourseShown:
    """What the page says of a fine-tuning."""

    said: str
    surprise: Markup  # both surprises over the epochs
    accuracy: Markup
    curves: tuple[str, ...] = CURVES


def shown(course: Mapping[str, Any] | None) -> CourseShown | None:
    """course: `finetune.Tuned.document`; None for a network that did not learn."""
    if course is None:
        return None
    epochs: Sequence[Mapping[str, Any]] = course["epochs"]
    best, last = epochs[course["best"]], epochs[-1]
    every = -(-len(epochs) // _LABELS_MAX)
    labels = [str(epoch["number"]) if epoch["number"] % every == 0 else "" for epoch in epochs]

    def drawn(fit: str, watch: str, *, named: str, top: float) -> Markup:
        numbers = [epoch["number"] for epoch in epochs]
        return charts.lines(
            [
                Line(name, numbers, [epoch[key] for epoch in epochs], dots=True)
                for name, key in zip(CURVES, (fit, watch), strict=True)
            ],
            x_name="epoch; 0 is before the first",
            y_name=named,
            y_range=(0.0, top),
            x_labels=labels,
        )

    most = max(epoch[key] for epoch in epochs for key in ("fit_nll", "watch_nll"))
    return CourseShown(
        said=f"Of {len(epochs) - 1} epochs the network after epoch {best['number']} was kept, which the watched "
        f"photographs surprise least: by {best['watch_nll']:.3f} nats, and those that it learns from by "
        f"{best['fit_nll']:.3f}, a gap of {best['gap']:+.3f}; after the last epoch it is {last['gap']:+.3f}.",
        surprise=drawn("fit_nll", "watch_nll", named="surprise (nats)", top=max(most * 1.05, 0.1)),
        accuracy=drawn("fit_accuracy", "watch_accuracy", named="share named rightly", top=1.0),
    )
