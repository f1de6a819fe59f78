"""Photographs of which a shadow says something else: to whom they are shown, and why one is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from console.ingest.services import apply_batch
from console.predictions.models import Prediction
from console.review.models import Decided, GoldAnswer, GoldItem, ReviewItem
from console.review.services import NOT_YET
from console.rollout.comparison import Flipped
from console.rollout.models import Mode, Route
from console.rollout.route_page import FlippedRow, _flipped
from console.site.roles import Role
from console.staff.models import User
from console.vault.models import Consent
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import prediction_pb2
from protos.wording import DISCLAIMER
from tests.console_events import CLASSES, prediction_event
from tests.unit.console.people import caller, member
from tests.unit.console.rollout.desk import Desk
from tests.unit.console.shop import kept, queued

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("consent")]


@pytest.fixture
def item() -> ReviewItem:
    return queued()


def rows(person: User) -> list[FlippedRow]:
    found = [
        Flipped(each.pk, each.request_id, each.happened_at, each.top_class, each.confidence, CLASSES[1], 0.6)
        for each in Prediction.objects.all()
    ]
    return _flipped(found, {}, person)


def test_a_photograph_is_shown_to_who_may_open_it_while_its_consent_holds(item: ReviewItem) -> None:
    expert = member(Role.REVIEWER)
    [row] = rows(expert)
    assert (f"/{item.prediction_id}/photograph/0.png" in row.photograph, row.why_not) == (True, "")
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


class TestByRest:
    @pytest.fixture
    def route(self) -> Route:
        """A shadow that says something else of three photographs: one kept, one kept and blind, one not kept."""
        desk = Desk()
        desk.roll_out(desk.first)
        Route.objects.update(started_at=now() - timedelta(hours=1))
        route = desk.roll_out(desk.second, Mode.SHADOW)
        said = {
            "model": "tiny",
            "version": desk.first.version,
            "shadows": [
                pb.ShadowAnswer(
                    version=desk.second.version,
                    verdict=1,
                    candidates=[prediction_pb2.Candidate(class_id=CLASSES[1], probability=0.8)],
                )
            ],
        }
        kept(**said, confidence=0.93, request_id="order-1")
        queued(**said, blind=True)
        apply_batch([prediction_event(**said, request_id="order-2")])
        return route

    def flipped(self, script: Any, route: Route) -> dict[str, Any]:
        answer = script.get(f"/api/v1/routes/{route.pk}/").json()
        assert answer["comparison"]["disclaimer"] == dict(DISCLAIMER)
        return {row["request_id"]: row for row in answer["comparison"]["flipped"]}

    def test_they_come_side_by_side_with_where_their_photographs_are(self, route: Route) -> None:
        script = caller(Role.REVIEWER)
        told = self.flipped(script, route)
        assert told.keys() == {"order-1", "order-2"}  # of the blind one nothing
        row = told["order-1"]
        assert (row["production"], row["shadow"]) == (CLASSES[0], CLASSES[1])
        assert (row["production_confidence"], row["shadow_confidence"]) == (pytest.approx(0.93), pytest.approx(0.8))
        assert row["why_not"] == ""
        picture = script.get(row["photograph"])
        assert (picture.status_code, picture["Content-Type"]) == (200, "image/png")
        assert (told["order-2"]["photograph"], told["order-2"]["why_not"]) == (None, "Not kept.")

    def test_who_may_open_none_is_given_no_address(self, route: Route) -> None:
        row = self.flipped(caller(Role.VIEWER), route)["order-1"]
        assert (row["photograph"], row["why_not"]) == (None, "Your roles do not let you see photographs.")

    def test_an_ended_consent_is_said_and_leads_nowhere(self, route: Route) -> None:
        Consent.objects.update(expires_at=now() - timedelta(minutes=1))
        row = self.flipped(caller(Role.REVIEWER), route)["order-1"]
        assert (row["photograph"], row["why_not"]) == (None, "The consent has run out.")

    def test_a_production_route_is_compared_with_nothing(self, route: Route) -> None:
        production = Route.objects.get(mode=Mode.PRODUCTION)
        assert caller(Role.REVIEWER).get(f"/api/v1/routes/{production.pk}/").json()["comparison"] is None

    def test_what_it_costs_is_bounded(
        self, route: Route, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        script = caller(Role.REVIEWER)
        with django_assert_max_num_queries(15):
            self.flipped(script, route)
