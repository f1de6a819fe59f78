"""Names and numbers in a sentence: the first few of many and how many more there are; one thing, or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SHOWN_MAX: Final = 10  # a sentence with 300 names of classes is read by nobody


def listed(names: Sequence[str]) -> str:
    """All of them where they are few, else the first SHOWN_MAX: `a, b and 298 more` of 300, were it two."""
    more = len(names) - SHOWN_MAX
    if more < 2:  # one more name is no longer than saying so
        return ", ".join(names)
    return f"{', '.join(names[:SHOWN_MAX])} and {more} more"


def counted(number: int, one: str, several: str = "") -> str:
    """1 photograph, 0 photographs, 2 photographs.  several: the plural, where it is not `one` and an s."""
    return f"{number} {one if number == 1 else several or one + 's'}"
