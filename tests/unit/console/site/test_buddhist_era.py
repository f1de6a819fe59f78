"""Years on Thai pages, and nowhere else."""

from __future__ import annotations

from datetime import UTC, date, datetime

from django.template import Context, Template
from django.utils.translation import override

MOMENT = datetime(2026, 11, 26, 1, 30, tzinfo=UTC)


def shown(text: str, language: str) -> str:
    with override(language):
        return Template(text).render(Context({"moment": MOMENT, "day": date(2000, 2, 29)}))


def test_a_thai_page_counts_in_the_buddhist_era_and_an_english_one_does_not() -> None:
    assert shown("{{ moment }}", "th") == "26 พ.ย. 2569, 08:30"
    assert shown("{{ moment }}", "en") == "26 Nov 2026, 08:30"
    assert shown('{{ day }}, {{ day|date:"y" }}', "th") == "29 ก.พ. 2543, 43"


def test_what_machines_read_stays_gregorian() -> None:
    assert shown('{{ moment|date:"c" }}', "th").startswith("2026-11-26T")
    assert "2026" in shown('{{ moment|date:"r" }}', "th")
