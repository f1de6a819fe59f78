"""Plots as plain shapes for a template that draws SVG: no script, no library, nothing that a strict CSP refuses.

Every coordinate is in per cent of the plot's width and height, y from the top. What a shape
says in words goes with it, for whoever points at it and for whoever cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_NICE: Final = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bar."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class StackedBar:
    x: float
    width: float
    pieces: tuple[Piece, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Stacked bars along time, with the labels of both axes."""

    bars: tuple[StackedBar, ...]
    ticks: tuple[str, ...]  # of the y axis, from the top
    labels: tuple[str, ...]  # of the x axis, from the left
    label_width: float  # from one label to the next


@dataclass(frozen=True, slots=True)
class Ribbon:
    """A middle line within a band, as SVG path data; a span without values interrupts both."""

    band: str
    line: str
    points: tuple[tuple[float, float, str], ...]  # x, y and words, one for each span with values
    labels: tuple[str, ...]
    label_width: float


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a plot draws, as a table: rows of a name and its figures, as text."""

    heads: Sequence[str]  # of the names, and of each column of figures
    rows: Sequence[tuple[str, Sequence[str]]]


def nice_ceiling(value: float) -> float:
    """The smallest of 1, 2, 2.5, 5 × 10ⁿ that is at least this; 1 for nothing."""
    if value <= 1:
        return 1
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _NICE if step * power >= value)


def stacked_bars(
    counts: Sequence[Mapping[str, int]], *, texts: Sequence[str], labels: Sequence[str], label_width: float
) -> Bars:
    """One bar a span. counts: kind -> how many, drawn from the bottom in that order."""
    top = nice_ceiling(max((sum(count.values()) for count in counts), default=0))
    slot = 100 / max(1, len(counts))
    bars = []
    for index, (count, text) in enumerate(zip(counts, texts, strict=True)):
        filled, pieces = 0.0, []
        for kind, number in count.items():
            height = 100 * number / top
            filled += height
            if number:
                pieces.append(Piece(kind, round(100 - filled, 2), round(height, 2)))
        bars.append(StackedBar(round(index * slot, 3), round(slot * 0.8, 3), tuple(pieces), text))
    return Bars(tuple(bars), (f"{top:g}", f"{top / 2:g}", "0"), tuple(labels), label_width)


def ribbon(
    values: Sequence[tuple[float, float, float] | None],
    *,
    texts: Sequence[str],
    labels: Sequence[str],
    label_width: float,
) -> Ribbon:
    """values: low, middle and high of each span, 0 to 1; None where there is nothing."""
    slot = 100 / max(1, len(values))
    lines, bands, points = [], [], []
    run: list[tuple[float, float, float, float]] = []
    for index, (value, text) in enumerate(zip([*values, None], [*texts, ""], strict=True)):
        if value is not None:
            x = round((index + 0.5) * slot, 2)
            low, middle, high = (round(100 * (1 - part), 2) for part in value)
            run.append((x, low, middle, high))
            points.append((x, middle, text))
        elif run:
            lines.append(_path([(x, middle) for x, _low, middle, _high in run]))
            there, back = [(x, high) for x, _low, _middle, high in run], [(x, low) for x, low, _m, _h in reversed(run)]
            bands.append(f"{_path([*there, *back])}Z")
            run = []
    return Ribbon(" ".join(bands), " ".join(lines), tuple(points), tuple(labels), label_width)


def quantile(counts: Sequence[int], ratio: float) -> float:
    """The value, 0 to 1, below which that share of counted values lies, drawn straight within its bin."""
    wanted = ratio * sum(counts)
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= wanted:
            return (index + (wanted - below) / count) / len(counts)
        below += count
    raise ValueError("nothing was counted")


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
