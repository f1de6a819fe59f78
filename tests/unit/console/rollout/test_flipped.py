"""Photographs of which a shadow says something else: to whom they are shown, and why one is not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils.timezone import now

from console.predictions.models import Prediction
from console.review.models import Decided, GoldAnswer, GoldItem, ReviewItem
from console.review.services import NOT_YET
from console.rollout.comparison import Flipped
from console.rollout.route_page import FlippedRow, _flipped
from console.site.roles import Role
from console.staff.models import User
from console.vault.models import Consent
from tests.console_events import CLASSES
from tests.unit.console.people import member
from tests.unit.console.shop import queued

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("consent")]


@pytest.fixture
def item() -> ReviewItem:
    return queued()


def rows(person: User) -> list[FlippedRow]:
    found = [
        Flipped(each.pk, each.happened_at, each.top_class, each.confidence, CLASSES[1], 0.6)
        for each in Prediction.objects.all()
    ]
    return _flipped(found, {}, person)


def test_a_photograph_is_shown_to_who_may_open_it_while_its_consent_holds(item: ReviewItem) -> None:
    expert = member(Role.REVIEWER)
    [row] = rows(expert)
    assert f"/{item.prediction_id}/photograph/0.png" in row.photograph
    [row] = rows(member(Role.VIEWER))
    assert (row.photograph, row.why_not) == ("", "Your roles do not let you see photographs.")
    Consent.objects.update(expires_at=now() - timedelta(minutes=1))
    [row] = rows(expert)
    assert (row.photograph, row.why_not) == ("", "The consent has run out.")


def test_what_somebody_is_asked_before_the_model_is_heard_is_not_shown_to_them(item: ReviewItem) -> None:
    asked, another = member(Role.REVIEWER), member(Role.REVIEWER, "ladda")
    gold = GoldItem.objects.create(item=item, decided=Decided.CLASS, class_id=CLASSES[0], made_by=another)
    GoldAnswer.objects.create(gold=gold, expert=asked, blind=True, open_until=NOT_YET)
    assert (len(rows(asked)), len(rows(another))) == (0, 1)
