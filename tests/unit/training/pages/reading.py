"""A page as its reader sees it: the cells of its tables, as text."""

from __future__ import annotations

from html.parser import HTMLParser


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def rows_of(page: str) -> list[list[str]]:
    """Every row of every table, in the order of the page."""
    tables = _Tables()
    tables.feed(page)
    return [[" ".join(cell.split()) for cell in row] for row in tables.rows]


def change(value: float, interval: list[float]) -> str:
    """A difference, as pages word it."""
    return f"{value:+.3f} ({interval[0]:+.3f} to {interval[1]:+.3f})"
