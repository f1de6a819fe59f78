"""A list says how it is sorted, in the reader's language, until somebody sorts it otherwise."""

from __future__ import annotations

import pytest
from django.test import Client

from console.ingest.services import apply_batch
from console.site.roles import Role
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import prediction_event
from tests.unit.console.people import browser, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
ORDER = '<p class="c-caption c-order">'


def order_of(person: Client, address: str, language: str = "en") -> str:
    page = person.get(address, headers={"accept-language": language}).content.decode()
    return page.partition(ORDER)[2].partition("</p>")[0]


def test_every_list_with_rows_says_how_it_is_sorted() -> None:
    apply_batch([prediction_event(verdict=words.VERDICT_UNSURE, confidence=0.5) for _ in range(2)])
    person = browser(member(Role.ADMINISTRATOR))
    predictions, queue = "/admin/predictions/prediction/", "/admin/review/reviewitem/"
    assert order_of(person, predictions) == "The newest first."
    assert order_of(person, predictions, "th") == "ใหม่ที่สุดก่อน"
    assert order_of(person, f"{queue}?state__exact=open").startswith("With a photograph first, then by why they came")
    assert order_of(person, f"{queue}?why__exact=1") in ("The newest first.", "")
    assert order_of(person, f"{predictions}?q=nothing") == ""  # there is nothing to sort


def test_a_list_that_was_sorted_by_a_heading_leaves_it_to_that() -> None:
    member(Role.APPROVER)
    person = browser(member(Role.ADMINISTRATOR))
    assert order_of(person, "/admin/staff/user/") == ""  # by name, as its heading says
