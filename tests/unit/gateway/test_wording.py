"""Words for people: complete in both languages, and the right language chosen."""

from __future__ import annotations

import re

import pytest

from gateway.wording import LANGUAGES, WORDS, language_of, words_for
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.wording import DISCLAIMER

THAI = re.compile(r"[\u0e00-\u0e7f]")


@pytest.mark.parametrize("reason", words.Reason.values(), ids=words.Reason.Name)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_has_a_message_and_an_advice(reason: words.Reason.ValueType, language: str) -> None:
    text = words_for(reason, language)

    for sentence in (text.message, text.advice):
        assert sentence.strip() == sentence != ""
        assert bool(THAI.search(sentence)) == (language == "th")


def test_there_are_words_for_reasons_of_the_enum_alone() -> None:
    assert set(WORDS) == set(words.Reason.values())
    assert set(DISCLAIMER) == set(LANGUAGES)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("th", "th"),
        ("TH-th", "th"),
        ("en-GB, th;q=0.5", "en"),
        ("th;q=0.9, en;q=0.8", "th"),
        ("en;q=0.1, th;q=0.2", "th"),
        ("de, th;q=0.3", "th"),
        ("de", "en"),
        ("*", "en"),
        ("th;q=0", "en"),
        ("th;q=abc", "en"),
        (";;;,,,", "en"),
        ("x" * 100_000, "en"),
    ],
)
def test_the_callers_language_is_chosen(header: str, language: str) -> None:
    assert language_of(header) == language
