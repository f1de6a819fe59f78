"""A card as a person reads it: what the version is for, how good it is on what, and how to make it again."""

from __future__ import annotations

import shlex

from model_store.card import Card
from protos.wording import DISCLAIMER
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
            {"figure": figure, "drawn": charts.whisker(figure.value, figure.low, figure.high, width=90)}
            for figure in card.metrics
        ],
        confusions=_confusions(card),
        again=_again(card),
        settings=sorted(settings_rows(card.training.config)),
    )


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
