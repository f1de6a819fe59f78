"""A heading says whether it is one of a row or of a column: a screen reader says it with each cell, and would guess."""

from __future__ import annotations

import re
from pathlib import Path

CONSOLE = Path(__file__).parents[4] / "console"
HEADING = re.compile(r"<th(?![a-z])[^>]*>(\s*</th>)?")


def test_every_heading_says_of_what_it_is_one_and_none_is_empty() -> None:
    headings = [
        (str(path.relative_to(CONSOLE)), found)
        for path in sorted(CONSOLE.rglob("templates/**/*.html"))
        for found in HEADING.finditer(path.read_text("utf-8"))
    ]
    assert len(headings) > 100
    assert [(path, found[0]) for path, found in headings if not re.search(r'scope="(row|col)"', found[0])] == []
    assert [(path, found[0]) for path, found in headings if found[1]] == []
