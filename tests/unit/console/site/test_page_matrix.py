"""Every page of the console × every role, asked for and posted to: who may, and who may not.

A page that is not in the tables of `tests.console_pages` fails. The rows that pages are about do not exist here:
who may is told so, and who may not is refused before anybody looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import pytest
from django.contrib.admin import site
from django.test import Client as Browser
from django.urls import URLResolver, get_resolver

from console.site.roles import Role
from console.staff.models import User
from tests.console_pages import EVERYBODY, OF_A_ROW, ROLES, ROWS, declared, leads_elsewhere
from tests.unit.console.people import browser, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
LETTERS: Final = {letter: Role(name) for letter, name in ROLES.items()}


def routes() -> Iterator[str]:
    """Every route below /admin/."""

    def of(resolver: URLResolver, prefix: str) -> Iterator[str]:
        for entry in resolver.url_patterns:
            route = prefix + str(entry.pattern)
            if isinstance(entry, URLResolver):
                yield from of(entry, route)
            else:
                yield route

    yield from (route.removeprefix("admin/") for route in of(get_resolver(), "") if route.startswith("admin/"))


def address_of(route: str) -> str:
    numbered = route.replace("<uuid:prediction_id>", "00000000-0000-0000-0000-000000000000")
    return "/admin/" + re.sub(r"<\w+:\w+>", "999999", numbered)


def test_every_page_is_declared_and_no_other() -> None:
    assert set(LETTERS.values()) == set(Role)
    assert set(EVERYBODY) == set(LETTERS)
    assert sorted(route for route in routes() if not leads_elsewhere(route)) == sorted(declared())
    assert sorted(ROWS) == sorted(f"{model._meta.app_label}/{model._meta.model_name}" for model in site._registry)


@pytest.mark.parametrize("letter", LETTERS)
def test_each_role_may_exactly_what_the_tables_say(letter: str) -> None:
    assert mismatches(browser(member(LETTERS[letter])), letter, declared()) == []


def mismatches(person: Browser, letter: str, wanted: Mapping[str, tuple[str, str]]) -> list[str]:
    """Where a page lets somebody of this role do something else than is said here."""
    wrong = []
    for route, allowed in wanted.items():
        for method, roles in zip((person.get, person.post), allowed, strict=True):
            status = method(address_of(route), follow=True).status_code
            if (status != 403) != (letter in roles) or status >= 500:
                wrong.append(f"{method.__name__} {route}: {status} for the {LETTERS[letter]}")
    return wrong


def test_a_page_that_lets_everybody_in_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of the test above, of some pages that a viewer may not see."""
    shut = dict([(route, may) for route, may in declared().items() if may[0] and "v" not in may[0] + may[1]][::5])
    viewer = browser(member(LETTERS["v"]))
    assert mismatches(viewer, "v", shut) == []
    monkeypatch.setattr(User, "has_perm", lambda *_: True)
    monkeypatch.setattr(User, "has_module_perms", lambda *_: True)
    assert len(mismatches(viewer, "v", shut)) >= len(shut) > 5


@pytest.mark.parametrize("number", ["999999", "abc", "-1", "9" * 40])
def test_an_address_without_a_row_is_no_page_and_no_fault(number: str) -> None:
    administrator = browser(member(Role.ADMINISTRATOR))
    routes = [route for route in declared() if OF_A_ROW in route]
    assert routes
    answers = {
        route: administrator.get(f"/admin/{route.replace('<path:object_id>', number)}", follow=True).status_code
        for route in routes
    }
    assert {route: status for route, status in answers.items() if status not in (403, 404)} == {}
