"""What a person sees of their own reviews, and who leads of each two people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from django_otp import DEVICE_ID_SESSION_KEY
from pytest_django import DjangoAssertNumQueries, Settings

from console.ingest.services import apply_batch
from console.review import figures, services
from console.review.models import TAKE_BACK, Decided, ExpertDecision, ReviewItem
from console.review.services import Decision
from console.site.roles import Role
from console.staff.models import User
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.people import browser, caller, member

pytestmark = pytest.mark.django_db
A, B = (Decision(Decided.CLASS, name) for name in CLASSES[:2])
MONTH_AGO = now() - timedelta(days=30)


@pytest.fixture
def people() -> tuple[User, User, User]:
    return member(Role.REVIEWER), member(Role.REVIEWER, "ladda"), member(Role.REVIEWER, "niran")


def double() -> ReviewItem:
    event = prediction_event(confidence=0.5)
    apply_batch([event])
    ReviewItem.objects.filter(prediction=event.prediction.prediction_id).update(opinions_wanted=2)
    return ReviewItem.objects.get(prediction=event.prediction.prediction_id)


def judged(said: Sequence[tuple[User, Decision]]) -> None:
    item = double()
    for expert, decision in said:
        services.take(actor=expert, item_id=item.pk)
        services.decide(actor=expert, item_id=item.pk, decision=decision)


def test_a_person_sees_how_their_own_reviews_went(people: tuple[User, User, User]) -> None:
    one, two, third = people
    judged([(one, A), (two, A)])
    judged([(one, A), (two, B), (third, A)])
    judged([(one, B), (two, A), (third, A)])
    judged([(one, A), (two, B)])  # not settled yet
    mine = figures.own_since(MONTH_AGO, expert=one)
    assert (mine.decisions, mine.shared, mine.alike, mine.settled, mine.stood) == (4, 4, 1, 2, 1)
    assert figures.own_since(MONTH_AGO, expert=two).stood == 1
    assert figures.own_since(MONTH_AGO, expert=third).shared == 0  # settling is no opinion


def test_a_script_reads_its_own_figures_and_nobody_elses(people: tuple[User, User, User]) -> None:
    one, two, third = people
    judged([(one, A), (two, A)])
    judged([(one, A), (two, B), (third, A)])
    mine = browser(one).get("/api/v1/reviews/figures/")
    found = mine.json()
    assert (found["decisions"], found["shared"], found["alike"], found["settled"], found["stood"]) == (2, 2, 1, 1, 1)
    assert (found["known"], found["missed"]) == (None, [])
    assert browser(two).get("/api/v1/reviews/figures/?expert=prasert").json()["stood"] == 0
    assert browser(third).get("/api/v1/reviews/figures/").json()["shared"] == 0
    assert "ladda" not in mine.content.decode()


def test_nothing_is_told_of_what_another_is_still_asked_about(people: tuple[User, User, User]) -> None:
    judged([(people[0], A)])
    mine = figures.own_since(MONTH_AGO, expert=people[0])
    assert (mine.decisions, mine.shared, mine.alike) == (1, 0, 0)


def test_two_people_have_a_kappa_from_twenty_photographs_on(people: tuple[User, User, User]) -> None:
    one, two, third = people
    for number in range(figures.PAIR_MIN - 1):
        judged([(one, A if number % 2 else B), (two, A if number % 2 else B)])
    assert figures.pairs_since(MONTH_AGO) == []
    judged([(two, A), (one, B), (third, B)])
    (pair,) = figures.pairs_since(MONTH_AGO)
    assert (pair.first, pair.second, pair.concord.cases, pair.concord.agreed) == ("ladda", "prasert", 20, 19)
    assert pair.concord.kappa == pytest.approx(0.9)  # 10 against 9 and 11 of each kind: chance is a half
    told = caller(Role.ADMINISTRATOR).get("/api/v1/reviews/people/").json()
    ((first, second, concord),) = ((each["first"], each["second"], each["concord"]) for each in told["pairs"])
    assert (first, second, concord["cases"], concord["kappa"]) == ("ladda", "prasert", 20, pytest.approx(0.9))
    assert told["people"] == []


@pytest.mark.usefixtures("static_files")
def test_of_few_photographs_no_kappa_is_told(people: tuple[User, User, User]) -> None:
    """Of a single one it would be -1.00, as if two experts said the opposite of each other on purpose."""
    judged([(people[0], A), (people[1], B), (people[2], A)])
    ExpertDecision.objects.update(decided_at=now() - TAKE_BACK * 2)
    desk = browser(people[2])
    page = desk.get("/admin/review/reviewitem/?state__exact=open").content.decode()
    assert "1 photograph judged by several experts" in page
    assert "too few for a kappa, which takes 20" in page
    assert "Fleiss" not in page
    told = desk.get("/api/v1/reviews/agreement/").json()["among_experts"]
    assert (told["cases"], told["kappa"], told["too_few"]) == (1, -1.0, True)


def test_the_page_costs_the_same_with_more_reviews_and_shows_pairs_to_who_leads_alone(
    people: tuple[User, User, User], settings: Settings, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    for _ in range(figures.PAIR_MIN):
        judged([(people[0], A), (people[1], A)])

    def page_of(person: User) -> str:
        client = Client()
        client.force_login(person, "django.contrib.auth.backends.ModelBackend")
        session = client.session
        session[DEVICE_ID_SESSION_KEY] = person.totpdevice_set.get().persistent_id
        session.save()
        with django_assert_max_num_queries(12):
            answer = client.get(reverse("admin:review_reviewitem_own_figures"))
        assert answer.status_code == 200
        return answer.content.decode()

    assert "prasert" not in page_of(people[1])
    assert "ladda · prasert" in page_of(member(Role.ADMINISTRATOR))
