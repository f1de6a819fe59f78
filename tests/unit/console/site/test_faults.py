"""Our own faults, and forms that come when nobody is signed in any more: what their sender reads."""

from __future__ import annotations

import logging
import re
from typing import NoReturn

import pytest
import structlog
from django.db import connection
from django.db.utils import ConnectionHandler
from django.http import HttpRequest, HttpResponse
from django.test import Client as Browser
from django.urls import path

from console.clients.models import ApiKey, Client
from console.clients.services import create_client
from console.site import urls
from console.site.roles import Role
from tests.unit.console.people import browser, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


def breaks(request: HttpRequest) -> NoReturn:
    raise RuntimeError("a secret of ours")


def asks(request: HttpRequest) -> HttpResponse:
    away = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/no/such/folder/a secret of ours"}
    return HttpResponse(ConnectionHandler({"default": away})["default"].cursor())


def lacks(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        return HttpResponse(cursor.execute('SELECT a FROM "a secret of ours"'))


# As an address book of its own, for the console has no page that breaks.
urlpatterns = [
    *urls.urlpatterns,
    *(path(f"{prefix}{view.__name__}/", view) for view in (breaks, asks, lacks) for prefix in ("", "api/v1/")),
]
handler500 = urls.handler500


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("address", "language", "status", "said"),
    [
        ("/breaks/", "en", 500, "This is our fault"),
        ("/breaks/", "th", 500, "เป็นความผิดพลาดของระบบ"),
        ("/api/v1/breaks/", "en", 500, "This is our own fault"),
        ("/lacks/", "en", 500, "This is our fault"),
        ("/asks/", "en", 503, "The database does not answer now"),
        ("/asks/", "th", 503, "ฐานข้อมูลไม่ตอบสนองในขณะนี้"),
        ("/api/v1/asks/", "en", 503, '"reason": "not_available"'),
    ],
)
def test_a_fault_is_found_in_the_log_by_what_its_page_says(
    address: str, language: str, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    asking = Browser(raise_request_exception=False)
    answered = asking.get(f"{address}?who=somchai", headers={"Accept-Language": language})
    page = answered.content.decode()
    assert answered.status_code == status
    assert said in page
    assert ("Retry-After" in answered) is (status == 503)
    assert ('href="/admin/"' in page) is ("/api/" not in address)  # the way back
    assert "secret" not in page
    named = re.search(r"(?:under|รหัส) ([0-9a-f]{12})", page)
    assert named is not None
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    line = _as_logged(record)
    assert f'"fault_id": "{named[1]}"' in line
    assert ("a secret of ours" if status == 500 else "unable to open database file") in line
    assert f'"request": "GET {address}"' in line
    assert "somchai" not in line  # the query, in which people are looked for by name, is not told


def _as_logged(record: logging.LogRecord) -> str:
    """The line as the console writes it."""
    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    ours = next(each for each in formatters if isinstance(each, structlog.stdlib.ProcessorFormatter))
    return ours.format(record)


@pytest.mark.parametrize(("language", "said"), [("en", "cannot be opened by itself"), ("th", "เปิดโดยตรงไม่ได้")])
def test_an_address_that_only_forms_are_sent_to_says_so_and_leads_back(language: str, said: str) -> None:
    answered = browser(member(Role.VIEWER)).get("/admin/logout/", headers={"Accept-Language": language})
    assert answered.status_code == 405
    assert "POST" in answered["Allow"]
    page = answered.content.decode()
    assert said in page
    assert 'href="/admin/"' in page


@pytest.mark.parametrize(
    ("language", "said"), [("en", "You were signed out before this was sent"), ("th", "คุณออกจากระบบก่อน")]
)
def test_whoever_was_signed_out_before_a_form_was_sent_is_told_that_nothing_happened(language: str, said: str) -> None:
    lead = member(Role.ADMINISTRATOR)
    client = create_client(actor=lead, name="kiosk")
    desk = browser(lead)
    address = f"/admin/clients/client/{client.pk}/new-key/"
    desk.logout()
    sent = desk.post(address, {"expires_at_0": "", "expires_at_1": ""}, headers={"Accept-Language": language})
    assert sent["Location"] == f"/admin/login/?next={address}"
    assert said in desk.get(sent["Location"], headers={"Accept-Language": language}).content.decode()
    assert not ApiKey.objects.exists()


def test_whoever_only_looks_or_signs_out_twice_is_told_of_nothing_that_was_sent() -> None:
    stranger = Browser()
    for method, address in ((stranger.get, "/admin/clients/client/"), (stranger.post, "/admin/logout/")):
        assert "signed out before" not in method(address, follow=True).content.decode()


@pytest.mark.parametrize(("language", "said"), [("en", "This was not sent"), ("th", "ยังไม่ได้ส่ง")])
@pytest.mark.parametrize(
    ("came_from", "is_ours"),
    [
        ("http://testserver/admin/clients/client/add/", True),
        ("http://elsewhere.example/admin/clients/client/add/", False),
        ("javascript:alert(1)", False),
        ("", False),
    ],
)
def test_a_form_whose_token_is_over_changes_nothing_and_leads_back_to_itself_alone(
    language: str, said: str, came_from: str, is_ours: bool
) -> None:
    desk = Browser(enforce_csrf_checks=True)
    desk.cookies = browser(member(Role.ADMINISTRATOR)).cookies
    headers = {"Accept-Language": language, **({"Referer": came_from} if came_from else {})}
    answered = desk.post("/admin/clients/client/add/", {"name": "kiosk", "calls_per_minute": "9"}, headers=headers)
    page = answered.content.decode()
    assert answered.status_code == 403
    assert said in page
    assert (f'href="{came_from}"' in page) is is_ours
    assert "kiosk" not in page  # what somebody else's page sent in a person's name is not repeated to them
    assert not Client.objects.exists()
