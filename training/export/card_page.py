"""A card as a person reads it: what the version is for, how good it is on what, and how to make it again."""

from __future__ import annotations

import shlex

from model_store.card import Card, MetricCard
from protos.wording import DISCLAIMER
from training.calibration import temperature
from training.ood import thresholds
from training.pages import charts, render, settings_rows


def page(card: Card) -> str:
    """One HTML file that needs nothing else, and says nothing that the card does not."""
    limits = card.decision.limits
    return render(
        "export/card.html.j2",
        card=card,
        limits=limits,
        disclaimers=[DISCLAIMER[language] for language in sorted(DISCLAIMER)],
        figures=[
            {
                "figure": figure,
                "drawn": charts.whisker(figure.value, figure.low, figure.high, ends=_ends(card, figure), width=90),
            }
            for figure in card.metrics
        ],
        confusions=_confusions(card),
        temperature=temperature.said(card.temperature),
        few_borders=thresholds.few(card.data.split.counts.get("thresholds")),
        again=_again(card),
        settings=sorted(settings_rows(card.training.config)),
    )


def _ends(card: Card, figure: MetricCard) -> tuple[float, float]:
    """Of the line that a figure is drawn on: shares go from 0 to 1, and not all figures are shares."""
    known = {"set_size": float(len(card.classes)), "brier": 2.0, "nll": 2.0}
    return 0.0, max(known.get(figure.name, 1.0), figure.high)


def _confusions(card: Card) -> list[tuple[str, str, int, int]]:
    """(shown, called, how many, of how many), the most frequent first."""
    if card.confusion is None:
        return []
    counts = card.confusion.counts
    wrong = [
        (shown, called, count, sum(row.values()))
        for shown, row in counts.items()
        for called, count in row.items()
        if called != shown
    ]
    return sorted(wrong, key=lambda item: (-item[2], item[0], item[1]))


def _again(card: Card) -> str:
    """The command that makes the version once more."""
    sets = card.training.config.get("outside", ())
    outside = [word for name in sets for word in ("--ood", name)]
    return shlex.join(["amulet", "train", card.data.name, *outside, "--from-card", "model.json", "--out", "again"])
