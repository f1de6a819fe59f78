"""One review item by REST, with what was decided of it: it says what the item's page says, and withholds the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.review import desk, gold, services
from console.review.models import Decided, ReviewItem, State
from console.review.services import Decision
from console.site.roles import Role
from console.staff.models import User
from tests.console_events import CLASSES
from tests.unit.console import shop
from tests.unit.console.people import browser, caller, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("consent")]
MODEL_SAYS = "phong_suphan"
A_CLASS, ANOTHER = Decision(Decided.CLASS, CLASSES[0]), Decision(Decided.CLASS, CLASSES[1], "by its base")


@pytest.fixture
def experts() -> tuple[User, User, User]:
    return member(Role.REVIEWER), member(Role.REVIEWER, "ladda"), member(Role.REVIEWER, "chai")


def queued(**changes: Any) -> ReviewItem:
    return shop.queued(**{"top_class": MODEL_SAYS, **changes})


def say(expert: User, item: ReviewItem, decision: Decision) -> None:
    services.take(actor=expert, item_id=item.pk)
    services.decide(actor=expert, item_id=item.pk, decision=decision)


def told(person: User, item: ReviewItem) -> dict[str, Any]:
    """What REST says of an item; its list of decisions says the same as the item does."""
    client, address = browser(person), f"/api/v1/reviews/{item.pk}/"
    found: dict[str, Any] = client.get(address).json()
    assert client.get(f"{address}decisions/").json()["results"] == found["decisions"]
    return found


def opinions_in(found: dict[str, Any]) -> Sequence[tuple[str, str]]:
    return [(said["expert"], said["class_id"]) for said in found["decisions"]]


def test_an_item_says_what_the_model_said_what_it_can_be_and_what_was_decided(
    experts: tuple[User, User, User], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    item = queued()
    say(experts[0], item, ANOTHER)
    client = browser(experts[1])
    with django_assert_max_num_queries(10):
        assert client.get(f"/api/v1/reviews/{item.pk}/").status_code == 200
    found = told(experts[1], item)
    assert (found["state"], found["why"], found["prediction"]["class_id"]) == ("decided", "LOW_CONFIDENCE", MODEL_SAYS)
    assert found["candidates"][0] == {"class_id": MODEL_SAYS, "probability": pytest.approx(0.5)}
    assert {choice["class_id"] for choice in found["choices"]} == set(CLASSES)
    assert found["choices"][0]["class_id"] == MODEL_SAYS
    (picture,) = found["pictures"]
    assert client.get(picture["photograph"]).content.startswith(b"\x89PNG")
    assert picture["heat_map"]
    (said,) = found["decisions"]
    assert (said["expert"], said["class_id"], said["note"], said["agrees"]) == (
        "prasert", CLASSES[1], "by its base", False,
    )  # fmt: skip
    assert "took_s" not in said


def test_to_look_at_an_item_holds_nothing(experts: tuple[User, User, User]) -> None:
    item = queued()
    assert told(experts[0], item)["held_by"] is None
    item.refresh_from_db()
    assert item.held_by is None


class TestBlind:
    def test_nothing_that_the_model_said_reaches_who_may_decide_until_it_counts(
        self, experts: tuple[User, User, User]
    ) -> None:
        item, engineer = queued(blind=True), member(Role.MODEL_ENGINEER)
        for decided in (False, True):
            found = told(experts[0], item)
            assert [found[name] for name in ("prediction", "why", "sampling_ratio", "candidates")] == [None] * 4
            ids = [choice["class_id"] for choice in found["choices"]]
            assert ids == sorted(CLASSES)
            assert [(bool(view["photograph"]), view["heat_map"]) for view in found["pictures"]] == [(True, None)]
            assert [said["agrees"] for said in found["decisions"]] == [None] * decided
            assert told(engineer, item)["prediction"]["class_id"] == MODEL_SAYS  # who has no say is not swayed
            if not decided:
                say(experts[0], item, A_CLASS)
        ReviewItem.objects.update(withheld_until=now())
        found = told(experts[0], item)
        assert (found["prediction"]["class_id"], found["decisions"][0]["agrees"]) == (MODEL_SAYS, False)

    def test_nor_does_the_answer_to_the_decision_itself(self) -> None:
        item, expert = queued(blind=True), caller(Role.REVIEWER)
        assert expert.post(f"/api/v1/reviews/{item.pk}/take/").status_code == 200
        made = expert.post(f"/api/v1/reviews/{item.pk}/decide/", {"decided": "class", "class_id": CLASSES[0]})
        assert (made.status_code, made.json()["agrees"]) == (201, None)


class TestDouble:
    def test_the_second_does_not_hear_the_first_and_the_third_not_who_they_were(
        self, experts: tuple[User, User, User]
    ) -> None:
        item = queued(opinions=2)
        say(experts[0], item, A_CLASS)
        assert told(experts[1], item)["decisions"] == []
        say(experts[1], item, ANOTHER)
        found = told(experts[2], item)
        assert found["state"] == State.DISPUTED
        assert opinions_in(found) == [("", CLASSES[1]), ("", CLASSES[0])]
        say(experts[2], item, ANOTHER)
        assert opinions_in(told(experts[0], item)) == [
            ("chai", CLASSES[1]), ("ladda", CLASSES[1]), ("prasert", CLASSES[0]),
        ]  # fmt: skip


@pytest.mark.parametrize("blind", [0.0, 1.0])
def test_a_known_answer_looks_like_an_open_item_to_whoever_is_asked(
    experts: tuple[User, User, User], settings: Any, blind: float
) -> None:
    settings.AMULET = django_settings.AMULET.model_copy(
        update={"review_gold_ratio": 1.0, "review_blind_ratio": blind, "review_double_ratio": 0.0}
    )
    lead, item = member(Role.ADMINISTRATOR), queued()
    say(lead, item, ANOTHER)
    gold.make_gold(actor=lead, item_id=item.pk, reason="its certificate of 2019")
    queued()
    assert desk.next_item(actor=experts[0]) == item.pk
    found = told(experts[0], item)
    assert (found["state"], found["blind"], found["decisions"]) == (State.OPEN, bool(blind), [])
    assert (found["candidates"] is None) == (found["prediction"] is None) == bool(blind)
    assert told(experts[1], item)["state"] == State.DECIDED


def test_what_is_not_there_is_not_found() -> None:
    expert = caller(Role.REVIEWER)
    for address in ("/api/v1/reviews/999/", "/api/v1/reviews/999/decisions/"):
        answer = expert.get(address)
        assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")
