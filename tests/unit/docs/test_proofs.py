"""The page of proofs names tests that exist, and for each clause a control or why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.pages import ROOT
from tests.unit.docs.test_promises import missing, named

PAGE: Final = (ROOT / "docs/engineers/proofs.md").read_text("utf-8")
PARTS: Final = (
    "TorchServe", "Archives", "Photographs", "Nothing acknowledged is lost", "Overload and hostile peers",
    "Keys, sessions, transport", "Audit", "Privacy", "Supply chain",
)  # fmt: skip


class Row(NamedTuple):
    clause: str
    proof: str
    control: str


def rows(page: str) -> Iterator[Row]:
    for line in page.splitlines():
        if line.startswith("| ") and not line.startswith("| clause |"):
            yield Row(*(cell.strip() for cell in line.strip("|").split("|")))


def faults(page: str) -> list[str]:
    """Tests that no file defines, and clauses without a test or without a word on their control."""
    found = list(missing(named(page)))
    for row in rows(page):
        if not named(row.proof) and not row.proof.startswith("none, because "):
            found.append(f"no test: {row.clause}")
        if not named(row.control) and not row.control.startswith("none, because "):
            found.append(f"no control: {row.clause}")
        if set(named(row.proof)) & set(named(row.control)):
            found.append(f"its own control: {row.clause}")
    return found


def test_each_clause_has_a_test_that_exists_and_a_control_or_the_reason_why_not() -> None:
    assert faults(PAGE) == []
    assert tuple(re.findall(r"^## (.+)$", PAGE, re.MULTILINE))[: len(PARTS)] == PARTS
    assert len(list(rows(PAGE))) >= 50


def test_a_test_that_was_renamed_and_an_empty_cell_are_found() -> None:
    """Negative control of the test above."""
    first = next(iter(named(PAGE)))
    assert faults(PAGE.replace(first, f"{first}_anew"))
    (row, *_) = rows(PAGE)
    for cell in (row.proof, row.control):
        assert faults(PAGE.replace(f"| {cell} |", "| |", 1))
