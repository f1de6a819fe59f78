"""Names in a sentence."""

from __future__ import annotations

from training.listing import SHOWN_MAX, counted, listed


def test_few_names_are_all_said_and_of_many_the_first_and_how_many_more() -> None:
    names = [f"class_{number:03}" for number in range(300)]
    assert listed([]) == ""
    assert listed(names[:1]) == "class_000"
    assert listed(names[: SHOWN_MAX + 1]) == ", ".join(names[: SHOWN_MAX + 1])
    assert listed(names) == f"{', '.join(names[:SHOWN_MAX])} and {300 - SHOWN_MAX} more"
    assert listed(names[: SHOWN_MAX + 2]).endswith(f"{names[SHOWN_MAX - 1]} and 2 more")


def test_one_thing_is_no_several() -> None:
    said = [counted(number, "photograph") for number in (0, 1, 2)]
    assert said == ["0 photographs", "1 photograph", "2 photographs"]
    assert [counted(number, "copy", "copies") for number in (1, 2)] == ["1 copy", "2 copies"]
