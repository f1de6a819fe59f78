"""What waits for experts of a restricted person is set aside, and comes back when the restriction is lifted."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.urls import reverse

from console.errors import Conflict
from console.ingest.retention import photo_key
from console.ingest.services import apply_batch
from console.privacy import services
from console.privacy.models import PrivacyRequest
from console.review import desk, gold, queries
from console.review import services as review
from console.review.models import GoldAnswer, ReviewItem, State
from console.site.roles import Role
from console.staff.models import User
from tests.console_events import CLASSES, kept_event, prediction_event
from tests.unit.console.datasets.labelled import MODEL, consenting, is_a, labelled
from tests.unit.console.people import browser, caller, member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]
PERSON = "shop-1"
LEFT_ALONE = "asked that their data be left alone"


@pytest.fixture
def officer() -> User:
    officer = member(Role.PRIVACY_OFFICER)
    consenting(officer, PERSON)
    return officer


def restricted(officer: User) -> PrivacyRequest:
    request = services.receive(actor=officer, pseudonym=PERSON, kind="restriction", laws="both", channel="letter")
    services.check_identity(actor=officer, request_id=request.pk, method="card")
    return services.start(actor=officer, request_id=request.pk)


def lifted(officer: User, request: PrivacyRequest) -> None:
    services.lift_restriction(actor=officer, request_id=request.pk, reason="settled")


def waiting(person: str) -> ReviewItem:
    """A photograph of that person that the model is unsure of."""
    event = kept_event(
        pseudonym=person, consent=f"keep-{person}", recipient=photo_key().public_key(), confidence=0.5, model=MODEL
    )
    assert apply_batch([event]).applied == 1
    return ReviewItem.objects.get(prediction=event.prediction.prediction_id)


def somebody_elses() -> ReviewItem:
    event = prediction_event(confidence=0.5, model=MODEL)
    assert apply_batch([event]).applied == 1
    return ReviewItem.objects.get(prediction=event.prediction.prediction_id)


def test_the_queue_passes_over_a_restricted_person_until_it_is_lifted(officer: User, expert: User) -> None:
    theirs = waiting(PERSON)
    other = somebody_elses()
    request = restricted(officer)
    after = waiting(PERSON)  # came while it was restricted

    assert desk.next_item(actor=expert) == other.pk
    review.decide(actor=expert, item_id=other.pk, decision=is_a(CLASSES[0]))
    assert desk.next_item(actor=expert) is None
    assert not review.anything_waits(expert)
    assert queries.open_count() == 0
    assert queries.longest_waiting(expert, 5) == []
    assert queries.waiting(expert).by_why == {}
    script = caller(Role.REVIEWER)
    assert [row["id"] for row in script.get("/api/v1/reviews/").json()["results"]] == [other.pk]
    refused = script.post(f"/api/v1/reviews/{theirs.pk}/take/")
    assert (refused.status_code, refused.json()["reason"]) == (409, "restricted")

    lifted(officer, request)
    assert queries.open_count() == 2
    # As before: photographs first, and what was never kept while it was restricted after them.
    assert desk.next_item(actor=expert) == theirs.pk
    review.decide(actor=expert, item_id=theirs.pk, decision=is_a(CLASSES[0]))
    assert desk.next_item(actor=expert) == after.pk


def test_a_photograph_that_somebody_looks_at_just_then_is_not_decided(officer: User, expert: User) -> None:
    theirs = waiting(PERSON)
    page = reverse("admin:review_reviewitem_change", args=[theirs.pk])
    desk_of = browser(expert)
    assert "What does the photograph show?" in desk_of.get(page).content.decode()
    request = restricted(officer)
    with pytest.raises(Conflict, match=LEFT_ALONE):
        review.decide(actor=expert, item_id=theirs.pk, decision=is_a(CLASSES[0]))
    shown = desk_of.get(page).content.decode()
    assert LEFT_ALONE in shown
    assert "What does the photograph show?" not in shown
    assert desk.next_item(actor=expert) is None  # although it is still held
    lifted(officer, request)
    assert review.decide(actor=expert, item_id=theirs.pk, decision=is_a(CLASSES[0]))


def test_disagreements_about_a_restricted_person_wait_too(officer: User, expert: User) -> None:
    theirs = waiting(PERSON)
    ReviewItem.objects.filter(pk=theirs.pk).update(state=State.DISPUTED, opinions_wanted=2, opinions=2)
    request = restricted(officer)
    assert review.take_next(actor=expert, state=State.DISPUTED) is None
    assert queries.waiting(expert).disputed == 0
    lifted(officer, request)
    assert review.take_next(actor=expert, state=State.DISPUTED) == theirs


@pytest.fixture
def known(officer: User, settings: Any) -> ReviewItem:
    """A photograph of that person whose answer is known, and one of somebody else that waits."""
    settings.AMULET = django_settings.AMULET.model_copy(update={"review_gold_ratio": 1.0, "review_blind_ratio": 0.0})
    key = labelled(member(Role.REVIEWER, "ladda"), PERSON, is_a(CLASSES[1]))
    item = ReviewItem.objects.get(prediction=key)
    gold.make_gold(actor=member(Role.ADMINISTRATOR), item_id=item.pk, reason="a certificate")
    somebody_elses()
    return item


def test_nobody_is_asked_a_known_answer_of_a_restricted_person(officer: User, expert: User, known: ReviewItem) -> None:
    request = restricted(officer)
    assert gold.next_question(expert, passing_over=0) is None
    assert not GoldAnswer.objects.exists()
    lifted(officer, request)
    assert desk.next_item(actor=expert) == known.pk


def test_a_question_that_stands_open_is_set_aside_and_lets_nothing_on(
    officer: User, expert: User, known: ReviewItem
) -> None:
    assert desk.next_item(actor=expert) == known.pk
    request = restricted(officer)
    assert desk.next_item(actor=expert) != known.pk
    question = gold.question_on(expert, known.pk)
    assert question is not None
    with pytest.raises(Conflict, match=LEFT_ALONE):
        gold.answer(actor=expert, question=question, decision=is_a(CLASSES[1]))
    shown = browser(expert).get(reverse("admin:review_reviewitem_change", args=[known.pk])).content.decode()
    assert LEFT_ALONE in shown
    assert "What was decided before" not in shown
    lifted(officer, request)
    gold.answer(actor=expert, question=question, decision=is_a(CLASSES[1]))


def test_nothing_of_a_restricted_person_is_made_a_known_answer(officer: User) -> None:
    key = labelled(member(Role.REVIEWER, "ladda"), PERSON, is_a(CLASSES[1]))
    restricted(officer)
    item = ReviewItem.objects.get(prediction=key)
    with pytest.raises(Conflict, match=LEFT_ALONE):
        gold.make_gold(actor=member(Role.ADMINISTRATOR), item_id=item.pk, reason="a certificate")
