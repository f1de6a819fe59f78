"""What needs a person, by REST: what the home page says to the same person, and nothing of the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from console.ingest.services import apply_batch
from console.registry.models import State
from console.review.models import ReviewItem
from console.site.cards import Number
from console.site.home import Thing
from console.site.roles import Role
from console.staff.models import User
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.people import browser, member
from tests.unit.console.site.test_home import a_request, an_alert, at_home, shown
from tests.unit.console.versions import a_version

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


def told(person: User) -> dict[str, Any]:
    """What REST says; the home page of the same person says all of it."""
    found: dict[str, Any] = browser(person).get("/api/v1/waiting/").json()
    home = shown(at_home(person)).replace("&amp;", "&").replace("&#x27;", "'")
    for said in (*found["numbers"], *found["longest"]):
        assert said["page"].removeprefix("http://testserver") in home
        assert said["text"] in home
    return found


def numbers(found: dict[str, Any]) -> dict[str, int]:
    return {card["what"]: card["number"] for card in found["numbers"]}


def longest(found: dict[str, Any]) -> list[tuple[str, int]]:
    return [(thing["what"], thing["id"]) for thing in found["longest"]]


@pytest.fixture
def busy() -> dict[str, int]:
    """Something of most kinds waits; the ids by what they are."""
    version = a_version(member(Role.MODEL_ENGINEER), state=State.SMOKE_TESTED)
    apply_batch([prediction_event(confidence=0.5)])
    return {
        Thing.VERSION: version.pk,
        Thing.REVIEW: ReviewItem.objects.get().pk,
        Thing.DRIFT: an_alert().pk,
        Thing.REQUEST: a_request(received_days_ago=40).pk,
    }


@pytest.mark.parametrize(
    ("role", "counted", "listed"),
    [
        (Role.VIEWER, {"versions", Number.DRIFT}, [Thing.DRIFT]),
        (Role.REVIEWER, {"versions", Number.DRIFT, Number.REVIEWS}, [Thing.DRIFT, Thing.REVIEW]),
        (Role.APPROVER, {"versions", Number.DRIFT}, [Thing.DRIFT, Thing.VERSION]),
        (Role.PRIVACY_OFFICER, {"versions", Number.DRIFT, Number.REQUESTS}, [Thing.REQUEST, Thing.DRIFT]),
    ],
)
def test_each_role_is_told_what_its_home_page_shows(
    busy: dict[str, int], role: Role, counted: set[str], listed: list[Thing]
) -> None:
    found = told(member(role, "visitor"))
    counts = numbers(found)
    assert counts.pop(Number.VERSIONS_SMOKE_TESTED) == 1
    assert counts.pop(Number.VERSIONS_VERIFIED) == counts.pop(Number.VERSIONS_FAILED) == 0
    assert counts == dict.fromkeys(counted - {"versions"}, 1)
    assert longest(found) == [(thing, busy[thing]) for thing in listed]


def test_whoever_has_no_role_is_told_of_nothing(busy: dict[str, int]) -> None:
    nobody = member(Role.VIEWER, "nobody")
    nobody.groups.clear()
    assert browser(nobody).get("/api/v1/waiting/").json() == {"numbers": [], "longest": []}


def test_what_is_answered_before_the_model_is_heard_says_nothing_of_it(busy: dict[str, int]) -> None:
    ReviewItem.objects.update(blind=True, withheld_until=now() + timedelta(days=1))
    answer = browser(member(Role.REVIEWER)).get("/api/v1/waiting/")
    (item,) = [thing for thing in answer.json()["longest"] if thing["what"] == Thing.REVIEW]
    assert (item["text"], item["why"]) == ("You answer first", "")
    assert not any(name in answer.content.decode() for name in CLASSES)


def test_nothing_says_whose_request_it_is(busy: dict[str, int]) -> None:
    answer = browser(member(Role.PRIVACY_OFFICER)).get("/api/v1/waiting/").content.decode()
    assert "days too late" in answer
    assert "shop-40" not in answer


def test_it_costs_the_same_however_much_waits(busy: dict[str, int]) -> None:
    suda = browser(member(Role.ADMINISTRATOR))
    with CaptureQueriesContext(connection) as few:
        suda.get("/api/v1/waiting/")
    apply_batch([prediction_event(confidence=0.5) for _ in range(50)])
    with CaptureQueriesContext(connection) as many:
        assert len(suda.get("/api/v1/waiting/").json()["longest"]) <= 5 * len(Thing)
    assert len(many) == len(few) <= 12  # of which three are of the session
