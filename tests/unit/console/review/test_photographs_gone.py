"""An item whose photograph was deleted since waits as one that never had any; home tells whom it concerns."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import translation
from django.utils.timezone import now

from console.ingest.services import apply_batch
from console.review import desk, queries, services
from console.review.models import Decided, ExpertDecision, ReviewItem, State
from console.review.services import Decision
from console.site.home import waiting_for
from console.site.roles import Role
from console.staff.models import User
from console.vault.models import Consent
from console.vault.services import give_consent, withdraw_consent
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.people import browser, member
from tests.unit.console.shop import REFERENCE, kept, queued

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files", "consent")]
ONE, OTHER = Decision(Decided.CLASS, CLASSES[0]), Decision(Decided.CLASS, CLASSES[1])


@pytest.fixture
def expert() -> User:
    return member(Role.REVIEWER)


def withdrawn() -> None:
    withdraw_consent(actor=User.objects.get(username="wipa"), reference=REFERENCE, channel="letter")


def of_somebody_else() -> ReviewItem:
    """Another person's photograph, which stays; it came later."""
    give_consent(
        actor=User.objects.get(username="wipa"), pseudonym="shop-18", reference="c-2", purpose="keep_photograph",
        text_version="1", channel="web", given_at=now() - timedelta(hours=1),
    )  # fmt: skip
    event = kept(pseudonym="shop-18", consent="c-2", confidence=0.5)
    return ReviewItem.objects.get(prediction=event.prediction.prediction_id)


def say(person: User, item: ReviewItem, decision: Decision) -> None:
    services.take(actor=person, item_id=item.pk)
    services.decide(actor=person, item_id=item.pk, decision=decision)


def test_what_can_be_looked_at_comes_before_what_was_deleted(expert: User) -> None:
    gone, stays = [queued(), queued(blind=True, opinions=2)], of_somebody_else()
    withdrawn()
    assert desk.next_item(actor=expert) == stays.pk
    for item in gone:
        item.refresh_from_db()
        assert (item.with_photograph, item.blind, item.withheld_until, item.opinions_wanted) == (False, False, None, 1)
    stays.refresh_from_db()
    assert stays.with_photograph
    services.decide(actor=expert, item_id=stays.pk, decision=ONE)
    assert desk.next_item(actor=expert) == gone[0].pk  # and waits all the same


def test_nobody_is_asked_to_answer_first_of_what_nobody_can_see(expert: User) -> None:
    item = queued(blind=True, top_class="phong_suphan")
    page = reverse("admin:review_reviewitem_change", args=[item.pk])
    assert "You answer first" in browser(expert).get(page).content.decode()
    withdrawn()
    told = browser(expert).get(page).content.decode()
    assert "Deleted: the consent was withdrawn or ran out." in told
    assert "You answer first" not in told
    services.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.UNUSABLE))
    assert not ExpertDecision.objects.get().blind
    assert queries.sway_since(now() - timedelta(days=1)).seen.n == 0


def test_what_was_decided_or_said_of_it_stays_as_it_was_said(expert: User) -> None:
    decided, begun = queued(blind=True), queued(blind=True, opinions=2)
    say(expert, decided, ONE)
    say(expert, begun, ONE)
    withdrawn()
    services.take_next(actor=member(Role.REVIEWER, "ladda"))
    decided.refresh_from_db()
    begun.refresh_from_db()
    assert (decided.with_photograph, decided.blind) == (True, True)
    assert (begun.with_photograph, begun.blind, begun.opinions_wanted, begun.opinions) == (False, True, 2, 1)


def test_a_consent_that_ran_out_but_may_be_deleted_later_changes_nothing(expert: User) -> None:
    item = queued()
    Consent.objects.update(expires_at=now() - timedelta(minutes=1))
    assert services.take_next(actor=expert) == item
    item.refresh_from_db()
    assert item.with_photograph


def test_the_list_says_of_which_a_photograph_can_be_looked_at(expert: User) -> None:
    queued()
    queue = reverse("admin:review_reviewitem_changelist")
    before = browser(expert).get(queue, {"state__exact": "open"}).content.decode()
    withdrawn()
    after = browser(expert).get(queue, {"state__exact": "open"}).content.decode()
    assert (before.count("check_small"), after.count("check_small")) == (before.count("check_small"), 0)
    assert before.count("check_small") == 1


class TestHome:
    """What waits longest is what this very person can do."""

    def test_who_has_spoken_is_not_sent_there_again(self, expert: User) -> None:
        item, other = queued(opinions=2), member(Role.REVIEWER, "ladda")
        say(expert, item, ONE)
        assert [thing.id for thing in waiting_for(other)] == [item.pk]
        assert waiting_for(expert) == []
        services.take(actor=other, item_id=item.pk)
        assert waiting_for(member(Role.REVIEWER, "chai")) == []  # somebody looks at it
        assert [thing.id for thing in waiting_for(other)] == [item.pk]

    def test_a_disagreement_is_told_to_whom_may_settle_it(self, expert: User) -> None:
        item, other, third = queued(opinions=2), member(Role.REVIEWER, "ladda"), member(Role.REVIEWER, "chai")
        apply_batch([prediction_event(confidence=0.5)])
        say(expert, item, ONE)
        say(other, item, OTHER)
        assert ReviewItem.objects.get(pk=item.pk).state == State.DISPUTED
        found = {thing.id: thing.why for thing in waiting_for(third)}
        assert found[item.pk] == "experts disagree"
        assert item.pk not in {thing.id for thing in waiting_for(expert)}
        engineer = member(Role.MODEL_ENGINEER)
        for person, cards in ((expert, 0), (other, 0), (third, 1), (engineer, 1)):
            numbers = browser(person).get("/api/v1/waiting/").json()["numbers"]
            assert [card["number"] for card in numbers if card["what"] == "review_disputes"] == [1] * cards
        home = browser(third).get("/admin/").content.decode()
        assert "disagreement of experts waits for a third person" in home
        assert f"{reverse('admin:review_reviewitem_changelist')}?state__exact=disputed" in home
        with translation.override("th"):
            shown = browser(third).get("/admin/", headers={"Accept-Language": "th"}).content.decode()
        assert "รายการที่ผู้เชี่ยวชาญเห็นต่างกันรอผู้ชี้ขาด" in shown
