"""What versions confuse, and how sure against how right: the tables of their cards as shapes and as words.

Shapes are for templates that draw SVG (`console.plots` says how); everything that a shape shows is also a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.utils.formats import number_format
from django.utils.translation import ngettext

from console.card_words import sentence_text
from console.predictions.names import KnownClass
from console.review.agreement import wilson
from console.spelling import composed
from model_store.card import Card
from model_store.measured import ConfusionCard, ReliabilityBinCard

CLASSES_DRAWN: Final = 30  # more would be specks; those that are confused most
MISTAKES_LISTED: Final = 8
_COUNTS_WRITTEN: Final = 16  # classes; in a finer grid a number has no room
_OPACITY_MAX: Final = 0.6  # the number in a cell stays readable by day and by night


@dataclass(frozen=True, slots=True)
class Cell:
    """A field of the grid: row and column from 0, and what it says in words."""

    row: int
    column: int
    count: int
    kind: str  # "right" or "wrong"
    opacity: float  # by its share of the row
    text: str


@dataclass(frozen=True, slots=True)
class Mistake:
    shown: str
    answered: str
    count: str
    ratio: str  # of the photographs of the class shown


@dataclass(frozen=True, slots=True)
class Matrix:
    """One version's confusions over the classes of `Confusions.names`, in their order."""

    cells: Sequence[Cell]
    rows: Sequence[tuple[int, str, Sequence[int]]]  # number, name and counts of each class
    mistakes: Sequence[Mistake]  # most frequent first
    mistakes_in_all: int
    photos: int
    data: str
    writes_counts: bool


@dataclass(frozen=True, slots=True)
class Confusions:
    """The matrices of one or two versions over the same classes; None for a version whose card has none."""

    names: Sequence[tuple[int, str]]  # number from 1, name
    size: int
    view_box: str  # of the drawing: one unit a class, and room for the numbers of rows and columns
    font_size: str  # in units of the drawing: as large in a coarse grid as in a fine one, while there is room
    left_out: int  # classes that are not drawn
    of: Sequence[Matrix | None]


@dataclass(frozen=True, slots=True)
class Bin:
    """Photographs of one confidence: a bar as high as they were right, in per cent of the plot."""

    x: float
    width: float
    y: float
    height: float
    low: float  # y of the 95 % interval's ends
    high: float
    middle: float
    sure: float  # y of the mean confidence
    share: float  # height of the bar that counts photographs, of the fullest bin
    text: str
    row: tuple[str, str, str, str, str]  # confidence from – to, photographs, mean confidence, right, interval


@dataclass(frozen=True, slots=True)
class Reliability:
    bins: Sequence[Bin]
    photos: int
    data: str


def confusions(*cards: Card) -> Confusions:
    """Over all classes that a card knows, or the CLASSES_DRAWN of them that are confused most.

    A class that two cards spell in two ways is one.
    """
    names = {
        composed(item.id): KnownClass(item.id, item.names).name for card in reversed(cards) for item in card.classes
    }
    tables = [_composed(card.confusion) for card in cards]
    drawn = sorted(names)
    if len(drawn) > CLASSES_DRAWN:
        mistaken = dict.fromkeys(drawn, 0)
        for table in tables:
            for shown, answered, count in _mistakes(table):
                mistaken[shown] += count
                mistaken[answered] += count
        drawn = sorted(sorted(drawn, key=lambda name: -mistaken[name])[:CLASSES_DRAWN])
    return Confusions(
        names=[(number, names[class_id]) for number, class_id in enumerate(drawn, 1)],
        size=len(drawn),
        view_box=f"-1 -1 {len(drawn) + 1} {len(drawn) + 1}",
        font_size=f"{min(0.5, 0.045 * (len(drawn) + 1)):.2f}",
        left_out=len(names) - len(drawn),
        of=[None if table is None else _matrix(table, drawn, names) for table in tables],
    )


def reliability(card: Card) -> Reliability | None:
    """None for a card that has no such table."""
    table = card.reliability
    if table is None:
        return None
    fullest = max(each.photos for each in table.bins)
    return Reliability([_bin(each, fullest) for each in table.bins], table.photos, sentence_text(table.data))


def _composed(confusion: ConfusionCard | None) -> ConfusionCard | None:
    if confusion is None:
        return None
    counts: dict[str, Counter[str]] = {}
    for shown, row in confusion.counts.items():
        found = counts.setdefault(composed(shown), Counter())
        for answered, count in row.items():
            found[composed(answered)] += count
    return replace(confusion, counts=counts)


def _mistakes(confusion: ConfusionCard | None) -> Sequence[tuple[str, str, int]]:
    if confusion is None:
        return ()
    found = [
        (shown, answered, count)
        for shown, row in confusion.counts.items()
        for answered, count in row.items()
        if shown != answered
    ]
    return sorted(found, key=lambda mistake: (-mistake[2], mistake))


def _matrix(confusion: ConfusionCard, drawn: Sequence[str], names: Mapping[str, str]) -> Matrix:
    cells = []
    totals = {shown: sum(row.values()) for shown, row in confusion.counts.items()}
    for row, shown in enumerate(drawn):
        for column, answered in enumerate(drawn):
            count = confusion.count(shown, answered)
            if not count:
                continue
            text = ngettext(
                "{shown}, called {answered}: {count} photograph of {total}",
                "{shown}, called {answered}: {count} photographs of {total}",
                count,
            ).format(
                shown=names[shown],
                answered=names[answered],
                count=number_format(count, force_grouping=True),
                total=number_format(totals[shown], force_grouping=True),
            )
            kind = "right" if shown == answered else "wrong"
            # A single mistake among many must still be seen.
            opacity = round(max(0.12, _OPACITY_MAX * count / totals[shown]), 2)
            cells.append(Cell(row, column, count, kind, opacity, text))
    mistakes = _mistakes(confusion)
    return Matrix(
        cells=cells,
        rows=[
            (number, names[shown], [confusion.count(shown, answered) for answered in drawn])
            for number, shown in enumerate(drawn, 1)
        ],
        mistakes=[
            Mistake(
                names[shown],
                names[answered],
                number_format(count, force_grouping=True),
                _percent(count / totals[shown]),
            )
            for shown, answered, count in mistakes[:MISTAKES_LISTED]
        ],
        mistakes_in_all=sum(count for _shown, _answered, count in mistakes),
        photos=confusion.photos,
        data=sentence_text(confusion.data),
        writes_counts=len(drawn) <= _COUNTS_WRITTEN,
    )


def _bin(each: ReliabilityBinCard, fullest: int) -> Bin:
    right = wilson(round(each.accuracy * each.photos), each.photos)
    span = f"{_percent(each.low)} – {_percent(each.high)}"
    interval = f"{_percent(right.low)} – {_percent(right.high)}"
    text = ngettext(
        "Confidence {span}: {count} photograph, right {right}",
        "Confidence {span}: {count} photographs, right {right}",
        each.photos,
    ).format(span=span, count=number_format(each.photos, force_grouping=True), right=_percent(each.accuracy))
    return Bin(
        x=round(100 * each.low, 2),
        width=round(100 * (each.high - each.low), 2),
        y=round(100 * (1 - each.accuracy), 2),
        height=round(100 * each.accuracy, 2),
        low=round(100 * (1 - right.low), 2),
        high=round(100 * (1 - right.high), 2),
        middle=round(50 * (each.low + each.high), 2),
        sure=round(100 * (1 - each.confidence), 2),
        share=round(100 * each.photos / fullest, 2),
        text=text,
        row=(
            span,
            number_format(each.photos, force_grouping=True),
            _percent(each.confidence),
            _percent(each.accuracy),
            interval,
        ),
    )


def _percent(ratio: float) -> str:
    return f"{ratio:.0%}"
