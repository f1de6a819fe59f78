"""What a person reads: verdict, candidates, advice, and always the disclaimer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from amulet_client import Prediction
from amulet_client.reading import describe, summarise, summary
from protos.wording import DISCLAIMER
from tests.unit.client.cast import full_response

ABOVE = Prediction.of(full_response())
UNSURE = replace(ABOVE, level="", class_candidates=())
SURE = replace(UNSURE, verdict="IN_DOMAIN", reasons=(), prediction_set=("a",), views=UNSURE.views[1:])
OUT = replace(UNSURE, verdict="OUT_OF_DISTRIBUTION")


def test_an_unsure_answer_in_full() -> None:
    assert describe(UNSURE) == "\n".join(
        [
            "Not sure",
            "   50.0%  Alpha",
            "   37.5%  Beta",
            "  With 90% certainty one of: Alpha, Beta",
            "  Similar examples: a e (0.75)",
            "  – Not sure enough. Ask.",
            "  – photograph 1: Blurred. Hold still.",
            "  A person will look at this one.",
            f"  {DISCLAIMER['en']}",
        ]
    )


def test_an_answer_above_the_classes_says_first_what_is_sure() -> None:
    assert describe(replace(ABOVE, prediction_set=("a",))).splitlines()[:6] == [
        "Not sure",
        "  Sure of the group:",
        "   50.0%  Alpha",
        "   37.5%  Beta",
        "  Among the kinds themselves:",
        "   25.0%  Alpha one",
    ]


def test_a_sure_answer_makes_no_more_words_than_needed() -> None:
    lines = describe(replace(SURE, will_be_reviewed=False, nearest_examples=())).splitlines()
    assert lines == ["Recognised", "   50.0%  Alpha", "   37.5%  Beta", f"  {DISCLAIMER['en']}"]


def test_an_answer_about_something_else_shows_no_misleading_candidates() -> None:
    assert "Alpha" not in describe(OUT)
    assert describe(OUT, "th-TH").startswith("ไม่ใช่ชนิดที่ระบบรู้จัก")


@pytest.mark.parametrize("language", ["en", "th", "de", "TH"])
@pytest.mark.parametrize("answer", [SURE, UNSURE, OUT])
def test_the_disclaimer_is_never_missing(answer: Prediction, language: str) -> None:
    silent = replace(answer, disclaimer="")
    expected = DISCLAIMER["th" if language.lower() == "th" else "en"]
    assert describe(silent, language).splitlines()[-1].strip() == expected
    assert describe(answer, language).splitlines()[-1].strip() == answer.disclaimer


def test_a_remark_on_the_only_photograph_is_not_made_twice() -> None:
    finding = UNSURE.views[0].findings[0]
    answer = replace(UNSURE, reasons=(replace(finding, view=-1),), views=UNSURE.views[:1])
    assert describe(answer).count("Blurred.") == 1


def test_a_few_words_name_the_best_candidate_and_none_where_it_would_mislead() -> None:
    assert summarise(SURE) == "Recognised: Alpha 50.0%"
    assert summarise(UNSURE, "th") == "ไม่แน่ใจ: Alpha 50.0%"
    assert summarise(OUT) == "None of the known kinds"
    assert summarise(replace(SURE, candidates=())) == "Recognised"


@pytest.mark.parametrize("language", ["en", "th"])
def test_a_summary_ends_with_the_disclaimer(language: str) -> None:
    assert summary(["a", "b"], language).splitlines()[1:] == ["  a", "  b", f"  {DISCLAIMER[language]}"]
