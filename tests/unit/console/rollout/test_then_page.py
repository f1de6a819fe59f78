"""The page of the time machine takes a moment as its reader writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from html import unescape

import pytest
from django.test import Client
from django.utils import translation
from django.utils.formats import date_format
from django.utils.timezone import localtime, now

from console.clients import services as clients
from console.rollout.models import Route
from console.rollout.then_page import then_context
from console.site.roles import Role
from tests.unit.console.people import browser, member
from tests.unit.console.rollout.desk import Desk, desk_in_production

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
THEN = datetime(2024, 12, 31, 2, 30, tzinfo=UTC)  # 09:30 in Bangkok
WRITTEN = {
    "th": ["31/12/2567 09:30", "31 ธ.ค. 2567, 09:30", "31 ธันวาคม 2567 9.30 น.", "๓๑/๑๒/๒๕๖๗ ๐๙:๓๐", "2567-12-31T09:30"],
    "en": ["2024-12-31 09:30", "31 Dec 2024, 09:30", "2024-12-31T09:30:00+07:00"],
}


@pytest.fixture
def desk() -> Desk:
    desk = desk_in_production()
    made = clients.create_client(actor=member(Role.ADMINISTRATOR), name="web-shop")
    type(made).objects.update(created_at=datetime(2020, 1, 1, tzinfo=UTC))
    Route.objects.update(started_at=datetime(2021, 1, 1, tzinfo=UTC))
    return desk


@pytest.mark.parametrize(
    ("language", "text"), [(language, text) for language, texts in WRITTEN.items() for text in texts]
)
def test_a_moment_is_taken_as_people_and_pages_write_it(desk: Desk, language: str, text: str) -> None:
    with translation.override(language):
        found = then_context(client="web-shop", at=text, model="")
    assert found["problem"] == ""
    assert found["found"].at == THEN


@pytest.mark.parametrize("text", ["yesterday", "31/12/2569", "31/13/2569 09:30", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_moment_is_refused_with_what_is_right(desk: Desk, text: str) -> None:
    page = ask(browser(desk.somchai), text, "th")
    assert "เขียนวันและเวลาเป็น 31/12/2569 09:30" in page
    assert f'value="{text}"' in page
    assert 'aria-invalid="true"' in page


@pytest.mark.parametrize("language", ["th", "en"])
def test_what_the_page_begins_with_is_taken(desk: Desk, language: str) -> None:
    person = browser(desk.somchai)
    with translation.override(language):
        today = date_format(localtime(now()), "DATE_FORMAT")
    begun = unescape(person.get("/admin/rollout/route/then/", headers={"accept-language": language}).content.decode())
    written = begun.split('name="at" value="')[1].split('"')[0]
    assert written.startswith(today)
    assert desk.first.version in ask(person, written, language)


def ask(person: Client, at: str, language: str) -> str:
    asked = {"client": "web-shop", "at": at}
    return person.get("/admin/rollout/route/then/", asked, headers={"accept-language": language}).content.decode()
