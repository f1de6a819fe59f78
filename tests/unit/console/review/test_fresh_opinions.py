"""Who can still change what they said hears neither the others nor, where it is blind, the model."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.errors import Conflict
from console.predictions.models import Prediction
from console.review import figures, queries, services
from console.review.models import TAKE_BACK, Decided, ExpertDecision, ReviewItem, State
from console.review.services import Decision
from console.site.roles import Role
from console.staff.models import User
from tests.console_events import CLASSES
from tests.unit.console.people import browser, member
from tests.unit.console.shop import queued

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files", "consent")]
FIRST = Decision(Decided.CLASS, CLASSES[0], "torn in half")
SAME, OTHER = Decision(Decided.CLASS, CLASSES[0]), Decision(Decided.CLASS, CLASSES[1])
YESTERDAY = timedelta(days=1)


@pytest.fixture
def experts() -> tuple[User, User, User]:
    return member(Role.REVIEWER), member(Role.REVIEWER, "ladda"), member(Role.REVIEWER, "chai")


def say(expert: User, item: ReviewItem, decision: Decision) -> None:
    services.take(actor=expert, item_id=item.pk)
    services.decide(actor=expert, item_id=item.pk, decision=decision)


def later() -> None:
    """The time in which a decision can be taken back is over."""
    moment = now() - TAKE_BACK - timedelta(seconds=1)
    ExpertDecision.objects.update(decided_at=moment)
    ReviewItem.objects.filter(withheld_until__gt=now(), state=State.DECIDED).update(withheld_until=moment)


def seen(person: User, item: ReviewItem) -> str:
    """All that a browser and a script of this person are sent about an item, and the lists that may have it."""
    desk = browser(person)
    pages = [
        reverse("admin:review_reviewitem_change", args=[item.pk]),
        reverse("admin:predictions_prediction_change", args=[item.prediction_id]),
        f"/api/v1/reviews/{item.pk}/",
        f"/api/v1/reviews/{item.pk}/decisions/",
    ]
    return "\n".join(desk.get(page, follow=True).content.decode() for page in pages)


@pytest.mark.parametrize(("second", "after"), [(OTHER, State.DISPUTED), (SAME, State.DECIDED)])
def test_the_last_one_asked_hears_nothing_of_the_others_while_their_own_opinion_can_change(
    experts: tuple[User, User, User], second: Decision, after: State
) -> None:
    item = queued(opinions=2)
    say(experts[0], item, FIRST)
    waiting = seen(experts[0], item)
    say(experts[1], item, second)
    assert ReviewItem.objects.get().state == after
    told = seen(experts[1], item)
    for word in ("torn in half", "prasert", '"disputed"', '"decided"', "experts disagree", "decided already"):
        assert word not in told, word
    assert '"state":"open"' in told
    assert "now another person is asked" in told
    assert "now another person is asked" in waiting  # as whoever is not the last one is told
    for person, listed in ((experts[1], []), (experts[2], [item.pk])):
        rows = browser(person).get("/api/v1/reviews/").json()["results"]
        assert [row["id"] for row in rows] == listed
    assert "torn in half" in seen(experts[2], item)  # who settles it has to hear it
    services.give_back(actor=experts[2], item_id=item.pk)
    services.take_back(actor=experts[1], item_id=item.pk)
    assert "torn in half" not in seen(experts[1], item)
    services.decide(actor=experts[1], item_id=item.pk, decision=second)
    later()
    assert "torn in half" in seen(experts[1], item)
    assert browser(experts[1]).get("/api/v1/reviews/").json()["results"][0]["state"] == after


def test_whose_opinion_is_not_the_newest_hears_of_it_at_once(experts: tuple[User, User, User]) -> None:
    item = queued(opinions=2)
    say(experts[0], item, FIRST)
    say(experts[1], item, OTHER)
    with pytest.raises(Conflict, match="Somebody else"):
        services.take_back(actor=experts[0], item_id=item.pk)
    assert '"state":"disputed"' in seen(experts[0], item)
    say(experts[2], item, OTHER)
    assert '"state":"decided"' in seen(experts[1], item)  # it is settled: their own opinion cannot change any more


def test_no_figure_says_so_either(experts: tuple[User, User, User]) -> None:
    item = queued(opinions=2)
    say(experts[0], item, FIRST)
    say(experts[1], item, OTHER)
    since = now() - YESTERDAY

    def told(person: User) -> tuple[int, int, int]:
        numbers = browser(person).get("/api/v1/reviews/agreement/").json()
        return (
            numbers["waiting"]["disputed"], numbers["among_experts"]["cases"],
            figures.own_since(since, expert=person).shared,
        )  # fmt: skip

    assert told(experts[1]) == (0, 0, 0)
    assert told(experts[2]) == (1, 0, 0)
    later()
    assert told(experts[1]) == (0, 1, 1)  # and to settle it is for others
    assert queries.waiting(experts[2]).disputed == 1
    assert queries.waiting(member(Role.MODEL_ENGINEER)).disputed == 1


def test_nor_does_a_figure_say_whether_a_fresh_blind_answer_agrees_with_the_model(
    experts: tuple[User, User, User],
) -> None:
    say(experts[0], queued(blind=True), SAME)
    say(experts[0], queued(), OTHER)
    since = now() - YESTERDAY

    def told() -> tuple[int, int, int, int, list[int]]:
        agreement, sway = queries.agreement_since(since), queries.sway_since(since)
        return (
            agreement.decisions, agreement.compared, sway.blind.n, sway.seen.n,
            [measured.in_queue.n for measured in queries.accuracy_since(since)],
        )  # fmt: skip

    assert told() == (0, 0, 0, 1, [1])
    later()
    assert told() == (2, 2, 1, 1, [2])


def test_an_item_costs_one_query_more_where_several_are_asked(
    experts: tuple[User, User, User], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    item = queued(opinions=2)
    say(experts[0], item, FIRST)
    say(experts[1], item, OTHER)
    desk = browser(experts[2])
    with django_assert_max_num_queries(12):
        assert desk.get(f"/api/v1/reviews/{item.pk}/").status_code == 200
    assert Prediction.objects.count() == 1
