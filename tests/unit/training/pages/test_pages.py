"""A page that nothing lies beside: it brings the letters that it needs, and no others."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

import training
from training.explanation.page import page as explained
from training.pages import render, with_thai_letters


@pytest.fixture
def document() -> dict[str, object]:
    disclaimer = {"en": "An expert decides.", "th": "ผู้เชี่ยวชาญตัดสิน"}
    return {"model": "v1", "data": "d", "means": "m", "disclaimer": disclaimer, "left_out": []}


def table(title: str) -> str:
    return render(
        "experiments/table.html.j2",
        title=title,
        measured="here",
        sentences=[],
        columns=["a"],
        rows=[],
        differences=[],
        against="a",
        corrected="of none",
    )


def test_thai_letters_come_with_the_page_that_has_some() -> None:
    page = table("พระสมเด็จ")

    (content,) = re.findall(r"src: url\(data:font/woff2;base64,([^)]+)\)", page)
    assert base64.b64decode(content, validate=True)[:4] == b"wOF2"
    assert page.index("@font-face") < page.index("</style>")
    assert "SIL Open Font License" in page
    assert len(page.encode()) - len(table("Amulets").encode()) < 50_000


def test_a_page_without_thai_letters_is_as_small_as_it_was() -> None:
    page = table("Amulets")

    assert "@font-face" not in page
    assert with_thai_letters(page) == page


def test_the_page_of_heat_maps_brings_them_too(document: dict[str, object]) -> None:
    assert explained([], document).count("@font-face") == 1


def test_a_percentage_is_written_in_one_way() -> None:
    pages = sorted(Path(training.__file__).parent.rglob("*.j2"))
    assert len(pages) > 5
    apart = [found[0] for page in pages for found in re.finditer(r".{0,40}(?:[0-9}] %(?!})|[fd] %%)", page.read_text())]
    assert apart == []
