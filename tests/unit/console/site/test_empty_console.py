"""A console in which nothing has happened yet says of each page what it is for and what comes first."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.utils.translation import gettext, override

from console.ingest.services import apply_batch
from console.review.models import Decided, ReviewItem
from console.review.services import Decision, decide, take
from console.site.roles import Role
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import prediction_event
from tests.console_pages import ROWS
from tests.unit.console.people import browser, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
QUEUE = "/admin/review/reviewitem/"
WAITING = f"{QUEUE}?state__exact=open"
_WHAT_TO_DO = re.compile(r'<p class="max-w-prose mb-6 text-center">\s*(.*?)\s*</p>', re.DOTALL)
_RESET = re.compile(r'<a href="([^"]*)"[^>]*>\s*<span[^>]*>filter_list_off</span>')


def shown(person: Client, address: str, language: str = "en") -> str:
    return person.get(address, headers={"accept-language": language}, follow=True).content.decode()


def test_every_list_without_rows_says_what_comes_first() -> None:
    person = browser(member(Role.ADMINISTRATOR))
    said = {}
    for kind in ROWS:
        for language in ("en", "th"):
            if (found := _WHAT_TO_DO.search(shown(person, f"/admin/{kind}/", language))) is not None:
                said[kind, language] = found[1]
    assert len(said) > 30
    assert [of for of, what in said.items() if not what] == []
    assert [kind for kind, _ in said if said[kind, "en"] == said[kind, "th"]] == []


@pytest.mark.parametrize("language", ["en", "th"])
def test_an_empty_queue_says_so_and_what_fills_it(language: str) -> None:
    page = shown(browser(member(Role.REVIEWER)), QUEUE, language)
    with override(language):
        for text in (
            "The queue is empty",
            "What the model is unsure of, and a sample of the rest, comes here by itself.",
        ):
            assert gettext(text) in page
        assert gettext("Nothing fits this search and these filters.") not in page


def test_from_a_queue_without_rows_all_that_was_decided_is_reached() -> None:
    """Both ways to all rows led back to what waits: the list without a question shows that."""
    expert = member(Role.REVIEWER)
    apply_batch([prediction_event(verdict=words.VERDICT_UNSURE, confidence=0.5)])
    item = ReviewItem.objects.get()
    take(actor=expert, item_id=item.pk)
    decide(actor=expert, item_id=item.pk, decision=Decision(Decided.UNSURE))
    person = browser(expert)
    page = shown(person, WAITING)
    row = f"{QUEUE}{item.pk}/change/"
    ways = _RESET.findall(page)
    assert len(ways) == 1
    ways += re.findall(r'<a[^>]*href="([^"]*)"[^>]*>\s*Clear all filters', page)
    assert len(ways) == 2
    assert row not in page
    assert [way for way in ways if row not in shown(person, f"{QUEUE}{way}")] == []


@pytest.mark.parametrize(
    "address", ["datasets/dataset/export/", "retraining/trainingjob/start/", "rollout/route/then/"]
)
def test_where_there_is_nothing_to_choose_that_is_said(address: str) -> None:
    page = shown(browser(member(Role.ADMINISTRATOR)), f"/admin/{address}")
    assert re.search(r'<option value=""[^>]*>\s*There is none yet', page)
