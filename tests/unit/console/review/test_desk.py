"""The photograph after this one is fetched while this one is looked at."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from console.ingest.services import apply_batch
from console.review import desk, services
from console.review.models import Decided, ExpertDecision, ReviewItem, State
from console.review.services import Decision
from console.site.roles import Role
from console.staff.models import User
from tests.console_events import prediction_event
from tests.unit.console.people import browser, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
AHEAD = {"X-Look-Ahead": "1"}
SCRIPT = {"Accept": "application/json"}


@pytest.fixture
def expert() -> User:
    return member(Role.REVIEWER)


@pytest.fixture
def at(expert: User) -> Client:
    return browser(expert)


@pytest.fixture
def items() -> list[ReviewItem]:
    apply_batch([prediction_event(confidence=0.5) for _ in range(3)])
    return list(ReviewItem.objects.order_by("created_at", "pk"))


def page_of(item: ReviewItem | int) -> str:
    return reverse("admin:review_reviewitem_change", args=[item if isinstance(item, int) else item.pk])


def looked_ahead(at: Client, after: ReviewItem | int) -> str:
    after_id = after if isinstance(after, int) else after.pk
    answer = at.post(f"{reverse('admin:review_reviewitem_look_ahead')}?after={after_id}")
    assert answer.status_code == 200
    return str(answer.json()["next"])


def test_what_was_fetched_ahead_is_what_comes_next_and_its_time_begins_then(
    at: Client, expert: User, items: list[ReviewItem]
) -> None:
    first = desk.next_item(actor=expert)
    assert first is not None
    ahead = looked_ahead(at, first)
    assert ahead != page_of(first)
    assert "data-review" in at.get(ahead, headers=AHEAD).content.decode()
    held = ReviewItem.objects.get(held_by=expert, held_since=None)
    assert page_of(held) == ahead

    done = at.post(page_of(first), {"answer": "unsure"}, headers=SCRIPT).json()
    assert done["next"] == ahead
    assert "Decided: cannot be told from this photograph" in done["last"]
    held.refresh_from_db()
    decided = ExpertDecision.objects.get()
    assert held.held_since is not None
    assert held.held_since >= decided.decided_at
    at.post(page_of(held), {"answer": "unsure"}, headers=SCRIPT)
    assert ExpertDecision.objects.get(item=held).took_s is not None


def test_nobody_else_gets_what_was_fetched_ahead(at: Client, expert: User, items: list[ReviewItem]) -> None:
    first = desk.next_item(actor=expert)
    assert first is not None
    looked_ahead(at, first)
    other = services.take_next(actor=member(Role.REVIEWER, "ladda"))
    assert other is not None
    assert other.held_by is not None
    assert ReviewItem.objects.filter(held_by=expert).count() == 2


def test_who_decides_is_told_how_many_wait_now_and_not_when_the_next_one_was_fetched(
    at: Client, expert: User, items: list[ReviewItem]
) -> None:
    first = desk.next_item(actor=expert)
    assert first is not None
    ahead = looked_ahead(at, first)
    assert "3 wait</span>" in at.get(ahead, headers=AHEAD).content.decode()
    done = at.post(page_of(first), {"answer": "unsure"}, headers=SCRIPT).json()
    assert (done["next"], done["waiting"]) == (ahead, "2 wait")
    in_thai = at.post(ahead, {"answer": "unsure"}, headers={**SCRIPT, "Accept-Language": "th"}).json()
    assert in_thai["waiting"] == "รอตรวจ 1 รายการ"


def test_at_the_end_of_the_queue_there_is_nothing_ahead(at: Client, expert: User, items: list[ReviewItem]) -> None:
    ReviewItem.objects.exclude(pk=items[0].pk).update(state=State.DECIDED)
    assert looked_ahead(at, items[0]) == ""
    services.take(actor=expert, item_id=items[0].pk)
    done = at.post(page_of(items[0]), {"answer": "unsure"}, headers=SCRIPT).json()
    assert done["next"] == reverse("admin:review_reviewitem_changelist")


def test_a_refusal_leads_back_to_the_page_that_says_it(at: Client, expert: User, items: list[ReviewItem]) -> None:
    services.take(actor=expert, item_id=items[0].pk)
    services.decide(actor=expert, item_id=items[0].pk, decision=Decision(Decided.UNSURE))
    done = at.post(page_of(items[0]), {"answer": "unsure"}, headers=SCRIPT).json()
    assert done["next"] == page_of(items[0])
    assert "It has been decided already." in at.get(done["next"]).content.decode()


def test_who_gave_it_back_in_another_window_is_shown_it_again(
    at: Client, expert: User, items: list[ReviewItem]
) -> None:
    services.take(actor=expert, item_id=items[0].pk)
    services.give_back(actor=expert, item_id=items[0].pk)
    told = at.post(page_of(items[0]), {"answer": "unsure"}, follow=True).content.decode()
    assert "It was no longer held for you: look at it again." in told
    assert "data-review" in told  # it is theirs again, and nobody told them to call an address
    assert not ExpertDecision.objects.exists()


def test_whoever_closed_the_browser_goes_on_where_they_were(expert: User, items: list[ReviewItem]) -> None:
    services.take(actor=expert, item_id=items[2].pk)
    assert desk.next_item(actor=expert) == items[2].pk
    assert desk.next_item(actor=expert, passing_over=items[2].pk) != items[2].pk


@pytest.mark.parametrize("after", ["", "x", "9" * 30])
def test_a_wrong_address_leads_nowhere(at: Client, after: str) -> None:
    assert at.post(f"{reverse('admin:review_reviewitem_look_ahead')}?after={after}").status_code == 404
    answer: Any = at.get(reverse("admin:review_reviewitem_look_ahead"))
    assert answer.status_code == 405


def test_who_settles_disagreements_is_told_how_many_there_are_of_those(
    at: Client, expert: User, items: list[ReviewItem]
) -> None:
    for other, answer in (("chai", Decided.UNSURE), ("ladda", Decided.NOT_OUR_KIND)):
        ReviewItem.objects.filter(pk=items[0].pk).update(opinions_wanted=2)
        person = member(Role.REVIEWER, other)
        services.take(actor=person, item_id=items[0].pk)
        services.decide(actor=person, item_id=items[0].pk, decision=Decision(answer))
    assert at.get(page_of(items[0])).context["waiting"] == 1
    assert at.get(page_of(items[1])).context["waiting"] == 2


def test_a_decided_item_leads_on_to_the_next_one(at: Client, expert: User, items: list[ReviewItem]) -> None:
    at.get(page_of(items[0]))
    at.post(page_of(items[0]), {"answer": "unsure"})
    address = f'href="{reverse("admin:review_reviewitem_next_one")}"'
    assert address in at.get(page_of(items[0])).content.decode()
    assert address not in browser(member(Role.MODEL_ENGINEER)).get(page_of(items[0])).content.decode()


def test_a_note_is_given_back_once_where_the_item_was_taken_meanwhile(
    at: Client, expert: User, items: list[ReviewItem]
) -> None:
    at.get(page_of(items[0]))
    ReviewItem.objects.filter(pk=items[0].pk).update(held_by=member(Role.REVIEWER, "ladda"))
    refused = at.post(page_of(items[0]), {"answer": "unsure", "note": "broken off"}, headers=SCRIPT)
    assert refused.json()["next"] == page_of(items[0])
    assert "data-not-taken" not in at.get(page_of(items[1])).content.decode()
    assert "data-not-taken" in at.get(page_of(items[0])).content.decode()
    assert "data-not-taken" not in at.get(page_of(items[0])).content.decode()
