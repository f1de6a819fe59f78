"""Shapes of a confusion matrix and of a reliability diagram, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.rollout.quality_plots import CLASSES_DRAWN, confusions, reliability
from model_store.card import Card, ClassCard
from model_store.measured import ConfusionCard, ReliabilityBinCard, ReliabilityCard
from tests.unit.console.versions import card_text


@pytest.fixture
def card() -> Card:
    return Card.parse(card_text())


def knowing(card: Card, *classes: str) -> Card:
    return replace(card, classes=tuple(ClassCard(each, {"en": each.title()}) for each in classes))


def test_two_matrices_share_their_rows_and_columns(card: Card) -> None:
    one = replace(knowing(card, "a", "b"), confusion=ConfusionCard("x", {"a": {"a": 3, "b": 1}, "b": {"b": 4}}))
    other = replace(knowing(card, "a", "c"), confusion=ConfusionCard("x", {"c": {"a": 2}}))
    drawn = confusions(one, other)
    assert drawn.names == [(1, "A"), (2, "B"), (3, "C")]
    assert (drawn.view_box, drawn.left_out) == ("-1 -1 4 4", 0)
    first, second = drawn.of
    assert first is not None
    assert second is not None
    assert [(cell.row, cell.column, cell.count, cell.kind) for cell in first.cells] == [
        (0, 0, 3, "right"),
        (0, 1, 1, "wrong"),
        (1, 1, 4, "right"),
    ]
    assert [cell.opacity for cell in first.cells] == [0.45, 0.15, 0.6]
    assert [(cell.row, cell.column) for cell in second.cells] == [(2, 0)]
    assert first.rows == [(1, "A", [3, 1, 0]), (2, "B", [0, 4, 0]), (3, "C", [0, 0, 0])]
    assert [(each.shown, each.answered, each.count, each.ratio) for each in first.mistakes] == [("A", "B", "1", "25%")]
    assert (first.photos, first.mistakes_in_all, second.mistakes_in_all) == (8, 1, 2)


def test_a_class_in_two_spellings_is_one_row(card: Card) -> None:
    apart, whole = "cafe\u0301", "caf\u00e9"
    one = replace(knowing(card, apart, "b"), confusion=ConfusionCard("x", {apart: {apart: 3, "b": 1}}))
    other = replace(knowing(card, whole, "b"), confusion=ConfusionCard("x", {"b": {whole: 2}}))
    drawn = confusions(one, other)
    assert [name for _number, name in drawn.names] == ["B", apart.title()]
    first, second = drawn.of
    assert first is not None
    assert second is not None
    assert ([row[2] for row in first.rows], [row[2] for row in second.rows]) == ([[0, 0], [1, 3]], [[0, 2], [0, 0]])
    assert (first.mistakes_in_all, second.mistakes_in_all) == (1, 2)


def test_large_counts_are_written_with_separators(card: Card) -> None:
    many = ConfusionCard("x", {"a": {"a": 30_000, "b": 1204}, "b": {"b": 5}})
    (matrix,) = confusions(replace(knowing(card, "a", "b"), confusion=many)).of
    assert matrix is not None
    assert matrix.mistakes[0].count == "1,204"
    assert matrix.cells[1].text == "A, called B: 1,204 photographs of 31,204"
    table = ReliabilityCard("x", (ReliabilityBinCard(0.5, 1.0, 12_345, 0.9, 0.8),))
    found = reliability(replace(card, reliability=table))
    assert found is not None
    assert found.bins[0].row[1] == "12,345"


def test_of_many_classes_those_that_are_confused_are_drawn(card: Card) -> None:
    names = [f"c{number:03d}" for number in range(CLASSES_DRAWN + 20)]
    counts = {name: {name: 5} for name in names} | {names[-1]: {names[-1]: 1, names[-2]: 4}}
    many = replace(knowing(card, *names), confusion=ConfusionCard("x", counts))
    drawn = confusions(many)
    assert (drawn.size, drawn.left_out) == (CLASSES_DRAWN, 20)
    assert [name for _number, name in drawn.names][-2:] == ["C048", "C049"]
    (matrix,) = drawn.of
    assert matrix is not None
    assert (matrix.photos, matrix.writes_counts) == (250, False)


def test_a_card_without_tables_draws_nothing(card: Card) -> None:
    assert confusions(card).of == [None]
    assert reliability(card) is None


def test_a_bar_is_as_high_as_its_answers_were_right(card: Card) -> None:
    bins = (ReliabilityBinCard(0.5, 0.75, 4, 0.7, 0.25), ReliabilityBinCard(0.75, 1.0, 16, 0.9, 1.0))
    found = reliability(replace(card, reliability=ReliabilityCard("x", bins)))
    assert found is not None
    low, high = found.bins
    assert (low.x, low.width, low.y, low.height, low.middle, low.sure) == (50, 25, 75, 25, 62.5, 30)
    assert (low.share, high.share) == (25, 100)
    assert (high.y, high.high) == (0, 0)
    # Wilson's interval of 1 in 4 is 4.6 % to 69.9 %; y runs downwards.
    assert (round(low.low, 1), round(low.high, 1)) == (95.4, 30.1)
    assert low.row == ("50% – 75%", "4", "70%", "25%", "5% – 70%")
    assert low.text == "Confidence 50% – 75%: 4 photographs, right 25%"
