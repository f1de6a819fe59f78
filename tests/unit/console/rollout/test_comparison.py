"""A shadow beside production: on the same photographs, once each, and what experts say of both."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from console.ingest.services import apply_batch
from console.review.models import Decided, ReviewItem
from console.review.services import Decision, decide, take
from console.rollout.comparison import compare
from console.rollout.models import Arm, Firing, Mode, Route, What
from console.rollout.observations import totals
from console.rollout.sequential import Count
from console.rollout.tasks import watch
from console.site.roles import Role
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, shadow_event
from tests.unit.console.people import caller, member
from tests.unit.console.rollout.desk import Desk, answers, desk_in_production, shadow

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    return desk_in_production()


def test_a_shadow_is_compared_on_the_photographs_that_both_answered(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.SHADOW)
    a, b, c = CLASSES[:3]
    out = shadow(desk.second, b, words.VERDICT_OUT_OF_DISTRIBUTION, ms=90.0)
    apply_batch(
        answers(desk.first, 6, shadows=[shadow(desk.second, a)])
        + answers(desk.first, 3, shadows=[out])
        + answers(desk.first, 1, top_class=c, shadows=[shadow(desk.second, a)])
        + answers(desk.first, 4)  # the shadow was late
        + answers(desk.third, 5, shadows=[shadow(desk.second, a)])  # no production version
    )
    found = compare(route, totals(route))
    assert (found.same_class, found.unanswered) == (Count(6, 10), 4)
    assert [(flip.production, flip.shadow, flip.count, round(flip.ratio, 3)) for flip in found.flips] == [
        (a, b, 3, 0.333),
        (c, a, 1, 1.0),
    ]
    assert found.out == (Count(0, 10), Count(3, 10))
    production, shadowed = found.latency_ms
    assert production[0] == shadowed[0]
    assert shadowed[1] is not None
    assert 90 <= shadowed[1] <= 90 * 1.19
    assert [(item.production, item.shadow) for item in found.flipped] == [(c, a), (a, b), (a, b), (a, b)]
    assert found.reviewed is None
    told = caller(Role.VIEWER).get(f"/api/v1/routes/{route.pk}/").json()
    assert told["comparison"]["same_class"] == {
        "yes": 6,
        "n": 10,
        "low": pytest.approx(0.2, 1),
        "high": pytest.approx(0.9, 1),
    }
    assert [reading["rule"] for reading in told["guardrails"]] == ["latency", "verdicts", "agreement"]


CAFE, CAFE_APART = "caf\u00e9", "cafe\u0301"  # one name, in Unicode's two spellings


def test_a_class_that_two_versions_spell_in_two_ways_is_one(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.SHADOW)
    unsure: dict[str, Any] = {"verdict": words.VERDICT_UNSURE, "confidence": 0.5}
    apply_batch(
        answers(desk.first, 120, top_class=CAFE_APART, shadows=[shadow(desk.second, CAFE)])
        + answers(desk.first, 2, top_class=CAFE, shadows=[shadow(desk.second, CLASSES[0])])
        + answers(desk.first, 1, top_class=CAFE_APART, shadows=[shadow(desk.second, CAFE)], **unsure)
    )
    item = ReviewItem.objects.get(prediction__top_class=CAFE_APART)
    prasert = member(Role.REVIEWER)
    take(actor=prasert, item_id=item.pk)
    decide(actor=prasert, item_id=item.pk, decision=Decision(Decided.CLASS, CAFE_APART))
    found = compare(route, totals(route))
    assert found.same_class == Count(121, 123)
    assert [(flip.production, flip.count, round(flip.ratio, 4)) for flip in found.flips] == [(CAFE, 2, 0.0163)]
    assert [(item.production, item.shadow) for item in found.flipped] == [(CAFE, CLASSES[0])] * 2
    assert found.reviewed is not None
    assert [side.right for side in found.reviewed] == [Count(1, 1), Count(1, 1)]
    watch()
    assert not Firing.objects.exists()  # "disagreement with production" would have ended it


def test_flips_are_the_newest_six_of_the_time_that_the_shadow_was_there(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.SHADOW)
    begin, end, instant = now() - timedelta(minutes=30), now() - timedelta(minutes=10), timedelta(microseconds=1)
    Route.objects.filter(pk=route.pk).update(started_at=begin, ended_at=end)
    route.refresh_from_db()

    def flipped_at() -> list[datetime]:
        return [item.happened_at for item in compare(route, totals(route)).flipped]

    def answered(*moments: datetime) -> None:
        other = [shadow(desk.second, CLASSES[1])]
        apply_batch([event for at in moments for event in answers(desk.first, 1, happened_at=at, shadows=other)])

    answered(begin - instant, begin, end - instant, end)
    assert flipped_at() == [end - instant, begin]
    between = [begin + timedelta(minutes=minutes) for minutes in range(1, 7)]
    answered(*between)
    assert flipped_at() == [end - instant, *between[:0:-1]]


def test_a_shadow_that_answers_late_is_joined_to_the_same_photograph_once(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.SHADOW)
    a, b = CLASSES[:2]
    (made,) = answers(desk.first, 1)
    late = shadow_event(made.prediction.prediction_id, shadow(desk.second, b, ms=300.0))
    apply_batch([made])
    assert compare(route, totals(route)).unanswered == 1
    apply_batch([late])
    apply_batch([late, made])
    found = compare(route, totals(route))
    assert (found.same_class, found.unanswered) == (Count(0, 1), 0)
    assert [(flip.production, flip.shadow) for flip in found.flips] == [(a, b)]
    assert totals(route).n(Arm.WATCHED, What.SLOW) == 1
    assert [(item.production, item.shadow) for item in found.flipped] == [(a, b)]
    # Of an erased prediction nothing comes back.
    (gone,) = answers(desk.first, 1)
    apply_batch([shadow_event(gone.prediction.prediction_id, shadow(desk.second, b))])
    assert totals(route).n(Arm.BOTH, What.CLASS) == 1
    # Nor is a version that its caller named waited for.
    (named,) = answers(desk.first, 1, version_named=True)
    apply_batch([named, shadow_event(named.prediction.prediction_id, shadow(desk.second, b))])
    assert (totals(route).n(Arm.BOTH, What.CLASS), totals(route).n(Arm.WATCHED, What.UNANSWERED)) == (1, 0)
    # Both in one batch.
    (made,) = answers(desk.first, 1)
    apply_batch([made, shadow_event(made.prediction.prediction_id, shadow(desk.second, a))])
    assert compare(route, totals(route)).same_class == Count(1, 2)


def test_experts_say_who_was_right(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.SHADOW)
    a, b = CLASSES[:2]
    unsure: dict[str, Any] = {"verdict": words.VERDICT_UNSURE, "confidence": 0.5}
    apply_batch(answers(desk.first, 4, shadows=[shadow(desk.second, b)], **unsure))
    # A shadow sees what a canary answers, too: no answer of production's.
    desk.roll_out(desk.third, Mode.CANARY, 0.5)
    apply_batch(answers(desk.third, 2, shadows=[shadow(desk.second, b)], **unsure))
    prasert = member(Role.REVIEWER)
    for number, item in enumerate(ReviewItem.objects.order_by("pk")):
        take(actor=prasert, item_id=item.pk)
        decide(actor=prasert, item_id=item.pk, decision=Decision(Decided.CLASS, a if number == 0 else b))
    reviewed = compare(route, totals(route)).reviewed
    assert reviewed is not None
    production, shadowed = reviewed
    assert (production.right, shadowed.right) == (Count(1, 4), Count(3, 4))
    assert production.gap == pytest.approx(0.5 - 0.25)
    assert shadowed.brier == pytest.approx((3 * 0.2**2 + 0.8**2) / 4)
