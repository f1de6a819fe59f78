from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from console.audit.models import Entry
from console.errors import Conflict, Invalid, NotAllowed, NotFound
from console.ingest.services import apply_batch
from console.predictions.models import Verdict
from console.review import queries, services
from console.review.models import TAKE_BACK, Decided, ExpertDecision, ReviewItem, State, Why
from console.review.services import Decision
from console.site.roles import Role
from console.staff.models import User
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.console_events import CLASSES, prediction_event
from tests.unit.console import shop
from tests.unit.console.people import member

pytestmark = pytest.mark.django_db
AGREED = Decision(Decided.CLASS, CLASSES[0])


@pytest.fixture
def expert() -> User:
    return member(Role.REVIEWER)


@pytest.fixture
def colleague() -> User:
    return member(Role.REVIEWER, "ladda")


def queued(**changes: object) -> ReviewItem:
    event = prediction_event(**{"confidence": 0.5, **changes})  # type: ignore[arg-type]
    apply_batch([event])
    return ReviewItem.objects.get(prediction=event.prediction.prediction_id)


def decided(expert: User, item: ReviewItem, decision: Decision = AGREED) -> ExpertDecision:
    services.take(actor=expert, item_id=item.pk)
    return services.decide(actor=expert, item_id=item.pk, decision=decision)


def test_a_decision_stands_beside_the_prediction_with_its_audit_entry(expert: User) -> None:
    item = queued()
    made = decided(expert, item, Decision(Decided.CLASS, CLASSES[2], "the base is moulded"))
    item.refresh_from_db()
    assert (item.state, item.rounds, item.held_by) == (State.DECIDED, 1, None)
    assert (made.class_id, made.agrees, made.note) == (CLASSES[2], False, "the base is moulded")
    assert item.prediction.top_class == CLASSES[0]
    entry = Entry.objects.get(type="review.decided")
    assert entry.actor == str(expert.pseudonym)
    assert '"model_class":"somdej"' in entry.payload.text


@pytest.mark.parametrize(
    ("verdict", "decision", "agrees"),
    [
        (words.VERDICT_IN_DOMAIN, AGREED, True),
        (words.VERDICT_UNSURE, AGREED, True),
        (words.VERDICT_IN_DOMAIN, Decision(Decided.CLASS, CLASSES[1]), False),
        (words.VERDICT_OUT_OF_DISTRIBUTION, AGREED, False),
        (words.VERDICT_OUT_OF_DISTRIBUTION, Decision(Decided.NOT_OUR_KIND), True),
        (words.VERDICT_IN_DOMAIN, Decision(Decided.NOT_OUR_KIND), False),
        (words.VERDICT_IN_DOMAIN, Decision(Decided.UNSURE), None),
        (words.VERDICT_UNSURE, Decision(Decided.UNUSABLE), None),
    ],
)
def test_agreement_is_with_what_the_model_claimed(
    expert: User, verdict: words.Verdict.ValueType, decision: Decision, agrees: bool | None
) -> None:
    assert decided(expert, queued(verdict=verdict), decision).agrees is agrees


@pytest.mark.parametrize(
    ("decision", "field"),
    [
        (Decision(Decided.CLASS), "class_id"),
        (Decision(Decided.CLASS, "unheard-of"), "class_id"),
        (Decision(Decided.UNSURE, CLASSES[0]), "class_id"),
        (Decision(Decided.UNSURE, note="x" * 501), "note"),
    ],
)
def test_an_unfit_decision_is_refused_and_the_item_stays_open(expert: User, decision: Decision, field: str) -> None:
    item = queued()
    services.take(actor=expert, item_id=item.pk)
    with pytest.raises(Invalid) as refused, transaction.atomic():
        services.decide(actor=expert, item_id=item.pk, decision=decision)
    assert refused.value.field == field
    item.refresh_from_db()
    assert (item.state, item.held_by) == (State.OPEN, expert)


def test_what_one_holds_another_neither_takes_nor_decides(expert: User, colleague: User) -> None:
    item = queued()
    services.take(actor=expert, item_id=item.pk)
    with pytest.raises(Conflict, match="prasert is reviewing it"):
        services.take(actor=colleague, item_id=item.pk)
    with pytest.raises(Conflict, match="prasert is reviewing it"):
        services.decide(actor=colleague, item_id=item.pk, decision=AGREED)


def test_a_hold_that_ran_out_is_free_for_others_and_good_for_its_holder_until_then(
    expert: User, colleague: User
) -> None:
    item = queued()
    services.take(actor=expert, item_id=item.pk)
    ReviewItem.objects.update(held_until=now() - timedelta(seconds=1))
    other = queued()
    services.take(actor=expert, item_id=other.pk)
    ReviewItem.objects.filter(pk=other.pk).update(held_until=now() - timedelta(seconds=1))
    services.decide(actor=expert, item_id=other.pk, decision=AGREED)
    services.take(actor=colleague, item_id=item.pk)
    with pytest.raises(Conflict, match="ladda is reviewing it"):
        services.decide(actor=expert, item_id=item.pk, decision=AGREED)


def test_a_hold_from_before_the_clock_was_set_back_is_over(expert: User, colleague: User) -> None:
    item = queued()
    services.take(actor=expert, item_id=item.pk)
    ReviewItem.objects.update(held_until=now() + timedelta(days=1))
    assert services.take(actor=colleague, item_id=item.pk).held_by == colleague


def test_taking_again_prolongs_the_hold_and_not_the_clock(expert: User) -> None:
    item = queued()
    first = services.take(actor=expert, item_id=item.pk)
    ReviewItem.objects.update(held_until=now())
    again = services.take(actor=expert, item_id=item.pk)
    assert again.held_since == first.held_since
    assert again.held_until is not None
    assert again.held_until > now()


def test_an_item_is_decided_once(expert: User, colleague: User) -> None:
    item = queued()
    decided(expert, item)
    for who in (expert, colleague):
        with pytest.raises(Conflict, match="decided already"):
            services.take(actor=who, item_id=item.pk)
        with pytest.raises(Conflict, match="decided already"):
            services.decide(actor=who, item_id=item.pk, decision=AGREED)
    assert ExpertDecision.objects.count() == 1


def test_an_item_must_be_taken_first(expert: User) -> None:
    with pytest.raises(Conflict, match="Take the item"):
        services.decide(actor=expert, item_id=queued().pk, decision=AGREED)
    with pytest.raises(NotFound):
        services.take(actor=expert, item_id=9999)


def test_what_is_given_back_is_free(expert: User, colleague: User) -> None:
    item = queued()
    services.take(actor=expert, item_id=item.pk)
    services.give_back(actor=colleague, item_id=item.pk)
    with pytest.raises(Conflict):
        services.take(actor=colleague, item_id=item.pk)
    services.give_back(actor=expert, item_id=item.pk)
    assert services.take(actor=colleague, item_id=item.pk).held_by == colleague


@pytest.mark.usefixtures("consent")
def test_the_next_item_is_the_most_urgent_free_one(expert: User, colleague: User) -> None:
    sampled = queued(confidence=0.99, wants_review=True)
    out = queued(verdict=words.VERDICT_OUT_OF_DISTRIBUTION)
    unsure = queued(verdict=words.VERDICT_UNSURE)
    with_photograph = shop.queued(confidence=0.99, wants_review=True)
    for expected in (with_photograph, unsure, out):
        assert services.take_next(actor=expert) == expected
        decided(expert, expected)
    services.take(actor=colleague, item_id=sampled.pk)
    assert services.take_next(actor=expert) is None
    services.give_back(actor=colleague, item_id=sampled.pk)
    assert services.take_next(actor=expert, passing_over=sampled.pk) is None
    assert services.take_next(actor=expert) == sampled


def test_of_equally_urgent_items_the_oldest_comes_first(expert: User) -> None:
    first, second = queued(), queued()
    ReviewItem.objects.filter(pk=second.pk).update(created_at=first.created_at - timedelta(minutes=1))
    assert services.take_next(actor=expert) == second


def test_what_one_holds_is_what_ends_first_of_those_that_wait_alike(expert: User, colleague: User) -> None:
    later, sooner, over, disputed = (queued() for _ in range(4))
    for item, minutes in ((later, 9), (sooner, 5), (over, -1), (disputed, 1)):
        services.take(actor=expert, item_id=item.pk)
        ReviewItem.objects.filter(pk=item.pk).update(held_until=now() + timedelta(minutes=minutes))
    ReviewItem.objects.filter(pk=disputed.pk).update(state=State.DISPUTED, opinions_wanted=2, opinions=2)
    assert services.held_by(expert, passing_over=0, state=State.OPEN) == sooner
    assert services.held_by(expert, passing_over=sooner.pk, state=State.OPEN) == later
    assert services.held_by(expert, passing_over=0, state=State.DISPUTED) == disputed
    assert services.held_by(colleague, passing_over=0, state=State.OPEN) is None


def test_a_confidence_at_the_limit_is_enough() -> None:
    for confidence, why in ((services.CONFIDENCE_MIN, None), (services.CONFIDENCE_MIN - 1e-9, Why.LOW_CONFIDENCE)):
        assert services.why_review(verdict=Verdict.IN_DOMAIN, confidence=confidence, wants_review=False) == why


def test_what_a_caller_contradicts_is_reviewed_for_certain() -> None:
    item = queued(confidence=0.99, wants_review=True)
    ReviewItem.objects.filter(pk=item.pk).update(sampling_ratio=0.02)
    services.flag([item.prediction], with_photograph=())
    item.refresh_from_db()
    assert (item.state, item.why, item.sampling_ratio) == (State.OPEN, Why.FLAGGED, 1.0)


def test_a_decision_is_taken_back_and_counts_nowhere(expert: User) -> None:
    item = queued()
    decided(expert, item, Decision(Decided.CLASS, CLASSES[1]))
    again = services.take_back(actor=expert, item_id=item.pk)
    assert (again.state, again.held_by, again.rounds) == (State.OPEN, expert, 0)
    assert not ExpertDecision.objects.exists()
    assert queries.agreement_since(now() - timedelta(days=1)).decisions == 0
    assert services.decide(actor=expert, item_id=item.pk, decision=AGREED).round == 1
    told = list(Entry.objects.filter(type__startswith="review.").order_by("pk").values_list("type", flat=True))
    assert told == ["review.decided", "review.taken_back", "review.decided"]


def test_a_second_round_that_is_taken_back_leaves_the_first_in_force(expert: User, colleague: User) -> None:
    item = queued()
    first = decided(expert, item)
    ReviewItem.objects.filter(pk=item.pk).update(state=State.OPEN)
    decided(colleague, item, Decision(Decided.UNSURE))
    services.take_back(actor=colleague, item_id=item.pk)
    assert list(queries.decisions_on(item.prediction_id)) == [first]


def test_what_cannot_be_taken_back_stays(expert: User, colleague: User) -> None:
    item = queued()
    with pytest.raises(NotFound):
        services.take_back(actor=expert, item_id=item.pk)
    decided(expert, item)
    with pytest.raises(Conflict, match="Somebody else"):
        services.take_back(actor=colleague, item_id=item.pk)
    ReviewItem.objects.filter(pk=item.pk).update(state=State.OPEN)
    with pytest.raises(Conflict, match="opened again"):
        services.take_back(actor=expert, item_id=item.pk)
    ReviewItem.objects.filter(pk=item.pk).update(state=State.DECIDED)
    ExpertDecision.objects.update(decided_at=now() - TAKE_BACK - timedelta(seconds=1))
    with pytest.raises(Conflict, match="10 minutes"):
        services.take_back(actor=expert, item_id=item.pk)
    assert ExpertDecision.objects.count() == 1


def test_only_who_may_reviews(expert: User) -> None:
    viewer, item = member(Role.VIEWER), queued()
    for attempt in (
        lambda: services.take(actor=viewer, item_id=item.pk),
        lambda: services.take_next(actor=viewer),
        lambda: services.decide(actor=viewer, item_id=item.pk, decision=AGREED),
    ):
        with pytest.raises(NotAllowed):
            attempt()


def test_the_database_itself_refuses_a_second_decision_of_one_round(expert: User) -> None:
    made = decided(expert, queued())
    with pytest.raises(IntegrityError), transaction.atomic():
        ExpertDecision.objects.create(item=made.item, round=1, expert=expert, decided=Decided.UNSURE)
    with pytest.raises(IntegrityError), transaction.atomic():
        ExpertDecision.objects.create(item=made.item, round=2, expert=expert, decided=Decided.UNSURE, class_id="x")


def test_the_home_page_s_numbers(expert: User) -> None:
    decided(expert, queued())
    decided(expert, queued(), Decision(Decided.CLASS, CLASSES[1]))
    decided(expert, queued(), Decision(Decided.UNUSABLE))
    queued(verdict=words.VERDICT_UNSURE)
    queued()
    assert queries.open_count() == 2
    assert queries.waiting(expert).by_why == {Why.UNSURE: 1, Why.LOW_CONFIDENCE: 1}
    assert queries.agreement_since(now() - timedelta(days=1)).decisions == 0  # all of them can still change
    ExpertDecision.objects.update(decided_at=now() - TAKE_BACK - timedelta(seconds=1))
    agreement = queries.agreement_since(now() - timedelta(days=1))
    assert (agreement.decisions, agreement.agreed, agreement.compared, agreement.ratio) == (3, 1, 2, 0.5)
    assert agreement.took_s is not None
    assert queries.agreement_since(now() + timedelta(days=1)).ratio is None
