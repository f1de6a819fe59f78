"""No figure tells an answer to what is known from any other one, as long as it can be taken back."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.urls import reverse
from django.utils.timezone import now

from console.review import desk, gold, queries, services
from console.review.models import TAKE_BACK, Decided, GoldAnswer, ReviewItem
from console.review.services import Decision
from console.site.roles import Role
from console.staff.models import User
from tests.console_events import CLASSES
from tests.unit.console.people import browser, member
from tests.unit.console.shop import queued

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files", "consent")]
TRUTH = Decision(Decided.CLASS, CLASSES[1])


def numbers(person: User) -> dict[str, int]:
    """Whatever counts, as a browser and a script of this person are told."""
    at = browser(person)
    page = at.get(reverse("admin:review_reviewitem_next_one"), follow=True)
    told, own = at.get("/api/v1/reviews/agreement/").json(), at.get("/api/v1/reviews/figures/").json()
    assert own["took_s"] is None or own["took_s"] >= 0
    return {
        "on the page": page.context["waiting"],
        "without the model": told["waiting"]["withheld"],
        "by their reasons": sum(count for count in told["waiting"]["by_why"].values()),
        "decisions": told["with_model"]["decisions"],
        "own decisions": own["decisions"],
        "own blind ones": own["blind"],
    }


def say(expert: User) -> ReviewItem:
    number = desk.next_item(actor=expert)
    assert number is not None
    item = ReviewItem.objects.get(pk=number)
    desk.decide(actor=expert, at=desk.seat(expert, item), decision=TRUTH)
    return item


def asked_of(expert: User, settings: Any, *, known: float, blind: bool) -> dict[str, int]:
    """What changes by one answer."""
    settings.AMULET = django_settings.AMULET.model_copy(update={"review_gold_ratio": 0.0})
    before = numbers(expert)
    for held in ReviewItem.objects.filter(held_by=expert):
        services.give_back(actor=expert, item_id=held.pk)
    settings.AMULET = django_settings.AMULET.model_copy(
        update={"review_gold_ratio": known, "review_blind_ratio": float(blind)}
    )
    say(expert)
    settings.AMULET = django_settings.AMULET.model_copy(update={"review_gold_ratio": 0.0})
    after = numbers(expert)
    return {name: after[name] - count for name, count in before.items()}


@pytest.mark.parametrize("blind", [False, True])
def test_what_counts_moves_as_after_any_other_answer(settings: Any, blind: bool) -> None:
    lead, expert = member(Role.ADMINISTRATOR), member(Role.REVIEWER, "chai")
    item = queued()
    services.take(actor=lead, item_id=item.pk)
    services.decide(actor=lead, item_id=item.pk, decision=TRUTH)
    gold.make_gold(actor=lead, item_id=item.pk, reason="its certificate of 2019")
    for _number in range(4):
        queued(blind=blind)
    of_known = asked_of(expert, settings, known=1.0, blind=blind)
    assert GoldAnswer.objects.filter(right=True).count() == 1
    assert of_known["on the page"] == -1
    assert of_known == asked_of(expert, settings, known=0.0, blind=blind)


def test_what_was_known_is_counted_apart_when_it_can_no_longer_change(settings: Any) -> None:
    test_what_counts_moves_as_after_any_other_answer(settings, blind=False)
    expert = User.objects.get(username="chai")
    assert numbers(expert)["own decisions"] == 2
    GoldAnswer.objects.update(answered_at=now() - TAKE_BACK * 2, open_until=now() - TAKE_BACK)
    assert numbers(expert)["own decisions"] == 1
    assert numbers(expert)["on the page"] == queries.open_count() == 3
