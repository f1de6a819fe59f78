"""How sure production and a shadow were, as the table under its bars."""

from __future__ import annotations

from django.utils.translation import override

from console.rollout.route_page import _bars, _numbers

# Of production four answers of 90 to 95 % and one of 50 to 55 %; of the shadow two of 90 to 95 %.
FOUND = ({18: 4, 10: 1}, {18: 2})


def test_every_bar_that_is_drawn_is_a_row_with_both_shares() -> None:
    with override("en"):
        table = _numbers(FOUND)
        drawn = [(one, other) for _x, _width, one, other, _text in _bars(FOUND) if one or other]
    assert table.heads == ("Confidence", "Production", "Shadow")
    assert [(name, *figures) for name, figures in table.rows] == [
        ("50% – 55%", "20.0%", "0.0%"),
        ("90% – 95%", "80.0%", "100.0%"),
    ]
    assert drawn == [(20.0, 0.0), (80.0, 100.0)]


def test_a_shadow_that_answered_nothing_yet_has_a_table_too() -> None:
    assert [figures for _name, figures in _numbers(({0: 3}, {})).rows] == [("100.0%", "0.0%")]
    assert _numbers(({}, {})).rows == []
