"""A certificate as a PDF, in Thai and in English: what its JSON says, for the person whose data is gone.

The same certificate always gives the same bytes: its time is that of the erasure, and nothing else goes in. The
file names nobody in its metadata either. Sarabun, the letters of Thai official documents, lies in the file, so it
reads the same everywhere; HarfBuzz sets vowels and tone marks over each other as Thai needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import as_file, files
from typing import Any, Final

from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

from console.privacy.printed import Sheet, sheets

_FONT: Final = "Sarabun"
_STYLES: Final = {"": "Regular", "B": "Bold"}
_TEXT_PT, _SMALL_PT, _TITLE_PT, _HEAD_PT = 9.0, 7.0, 18.0, 11.0
_LINE: Final = 1.4  # of the letters' height: Thai has marks above and below
_MARGIN_MM: Final = 18.0
_INK, _SOFT, _RULE = (24, 24, 27), (82, 82, 91), (212, 212, 216)
_MM_PER_PT: Final = 25.4 / 72


class _Paper(FPDF):
    """A4 pages with the number of the request and of the page below."""

    def __init__(self, name: str) -> None:
        super().__init__(format="A4")
        self._name = name
        self.set_margins(_MARGIN_MM, _MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=_MARGIN_MM)
        for style, ending in _STYLES.items():
            with as_file(files("fontpkg_sarabun") / "files" / f"{_FONT}-{ending}.ttf") as path:
                self.add_font(_FONT, style, path)
        self.set_text_shaping(use_shaping_engine=True)

    def footer(self) -> None:
        self.set_y(-_MARGIN_MM + 6)
        self.write_as(_SMALL_PT, _SOFT)
        self.cell(text=self._name)
        self.cell(w=0, text=f"{self.page_no()} / {{nb}}", align="R")

    def write_as(self, size_pt: float, colour: tuple[int, int, int] = _INK, *, bold: bool = False) -> None:
        self.set_font(_FONT, "B" if bold else "", size_pt)
        self.set_text_color(*colour)

    def words(self, text: str, size_pt: float, colour: tuple[int, int, int] = _INK, *, bold: bool = False) -> None:
        """A paragraph across the page."""
        self.write_as(size_pt, colour, bold=bold)
        self.multi_cell(0, size_pt * _MM_PER_PT * _LINE, text, align="L", new_x="LMARGIN", new_y="NEXT")

    def rows(self, head: Sequence[str], rows: Sequence[Sequence[str]], widths: tuple[int, ...], align: str) -> None:
        """A table with rules between its rows; head may be empty."""
        self.write_as(_TEXT_PT)
        self.set_draw_color(*_RULE)
        with self.table(
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            col_widths=widths,
            first_row_as_headings=bool(head),
            headings_style=FontFace(emphasis="BOLD", color=_SOFT),
            line_height=_TEXT_PT * _MM_PER_PT * _LINE,
            padding=(0.45, 0),
            text_align=tuple({"l": "LEFT", "r": "RIGHT"}[letter] for letter in align),
        ) as table:
            for row in (*((head,) if head else ()), *rows):
                table.row(row)


def certificate_pdf(certificate: Mapping[str, Any]) -> bytes:
    """The PDF of a certificate as `certificate_of` gives it; a page or two for each language."""
    made = sheets(certificate)
    statement = certificate["statement"]
    paper = _Paper(" · ".join([*(sheet.title for sheet in made), str(statement["request"])]))
    paper.set_title(f"{made[-1].title} {statement['request']}")
    paper.set_lang(made[0].language)
    paper.set_producer("Amulet")
    paper.set_creation_date(datetime.fromisoformat(statement["finished_at"]))
    for sheet in made:
        _write(paper, sheet)
    return bytes(paper.output())


def _write(paper: _Paper, sheet: Sheet) -> None:
    paper.add_page()
    paper.words(sheet.title, _TITLE_PT, bold=True)
    paper.words(sheet.lead, _TEXT_PT)
    paper.ln(2)
    paper.rows((), sheet.facts, (45, 55), "ll")
    _headed(paper, sheet.stores_title)
    paper.rows(
        sheet.stores_head,
        sheet.stores,
        (56, 14, 30),
        "lrr",
    )
    _headed(paper, sheet.limits_title)
    for limit in sheet.limits:
        paper.words(f"• {limit}", _TEXT_PT)
    _headed(paper, sheet.proof_title)
    paper.words(sheet.proof, _TEXT_PT)
    _headed(paper, sheet.checkpoint_title)
    paper.words(sheet.checkpoint, _SMALL_PT, _SOFT)


def _headed(paper: _Paper, title: str) -> None:
    paper.ln(2)
    paper.words(title, _HEAD_PT, bold=True)
