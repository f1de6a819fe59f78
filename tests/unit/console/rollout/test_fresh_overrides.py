"""A guardrail acts by what experts said a moment ago; nobody is told that while they can say something else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now

from console.ingest.services import apply_batch
from console.review import services as review
from console.review.models import TAKE_BACK, Decided, ExpertDecision, Part, ReviewItem, State
from console.review.services import Decision
from console.rollout import experiments, guardrails
from console.rollout.models import Measure, Mode, Route, Rule
from console.rollout.sequential import Count
from console.site.roles import Role
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES
from tests.unit.console.people import browser, member
from tests.unit.console.rollout.desk import Desk, answers, desk_in_production

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("static_files")]


@pytest.fixture
def desk() -> Desk:
    return desk_in_production()


def overridden(desk: Desk, **of_item: object) -> None:
    """One answer of the canary, which an expert holds to be wrong."""
    apply_batch(answers(desk.second, 1, verdict=words.VERDICT_UNSURE, confidence=0.5))
    item = ReviewItem.objects.get()
    ReviewItem.objects.update(**of_item)
    expert = member(Role.REVIEWER)
    review.take(actor=expert, item_id=item.pk)
    review.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.CLASS, CLASSES[1]))


def later() -> None:
    """The time in which a decision can be taken back is over."""
    moment = now() - TAKE_BACK - timedelta(seconds=1)
    ExpertDecision.objects.update(decided_at=moment)
    ReviewItem.objects.filter(withheld_until__isnull=False).update(withheld_until=moment)
    Route.objects.update(started_at=moment - timedelta(hours=1))


def by_rest(person: Client, route: Route) -> tuple[int, int]:
    rows = person.get(f"/api/v1/routes/{route.pk}/").json()["guardrails"]
    (found,) = [row["watched"] for row in rows if row["rule"] == Rule.OVERRIDES]
    return found["yes"], found["n"]


def test_a_fresh_blind_answer_is_acted_by_and_not_told(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    overridden(desk, blind=True, withheld_until=now() + timedelta(days=400))
    person = browser(desk.somchai)

    def watched(*, fresh: bool) -> Count:
        (reading,) = [each for each in guardrails.read(route, fresh=fresh) if each.definition.rule is Rule.OVERRIDES]
        return reading.watched

    assert watched(fresh=True) == Count(1, 1)
    assert watched(fresh=False) == Count(0, 0)
    assert by_rest(person, route) == (0, 0)
    later()
    route.refresh_from_db()
    assert by_rest(person, route) == (1, 1)


def test_nor_is_the_last_of_several_opinions(desk: Desk) -> None:
    """That it is in force would say that the others said the same."""
    route = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    overridden(desk)
    ExpertDecision.objects.update(part=Part.OPINION)
    ReviewItem.objects.update(opinions_wanted=2, opinions=2, state=State.DECIDED)
    assert by_rest(browser(desk.somchai), route) == (0, 0)
    later()
    assert by_rest(browser(desk.somchai), route) == (1, 1)


def test_an_answer_that_nothing_is_kept_from_is_told_at_once(desk: Desk) -> None:
    route = desk.roll_out(desk.second, Mode.CANARY, 0.5)
    overridden(desk)
    assert by_rest(browser(desk.somchai), route) == (1, 1)


def test_an_experiment_is_settled_by_it_and_does_not_tell_it(desk: Desk) -> None:
    plan = experiments.Plan("better", Measure.AGREED, 0.6, 0.2, 0.3)
    made = experiments.start(
        actor=desk.somchai, version_id=desk.second.pk, plan=plan, reason="why not", backend=lambda: desk.backend
    )
    overridden(desk, blind=True, withheld_until=now() + timedelta(days=400))
    assert experiments.stand(made).watched == Count(0, 0)
    assert experiments.stand(made, fresh=True).watched == Count(0, 1)
