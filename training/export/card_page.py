"""A card as a person reads it: what the version is for, how good it is on what, and how to make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from model_store.card import Card
from protos.wording import DISCLAIMER
from training.pages import charts, render


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
        settings=sorted(_settings(card.training.config)),
    )


def _settings(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """A recipe's fields by their whole names, with values as a recipe in YAML has them."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
