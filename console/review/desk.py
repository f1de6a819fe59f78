"""One person at the queue: the next photograph, what they say of it, and second thoughts.

Whether a photograph waits for an answer or its answer is known makes no difference here, nor to the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

from django.db.models import QuerySet
from django.utils.timezone import now

from console.errors import Conflict
from console.predictions.names import KnownClass, classes_of, in_order_of_ids
from console.predictions.page import PAGES, Picture, pictures
from console.review import gold, queries, services
from console.review.models import ExpertDecision, GoldAnswer, ReviewItem, State
from console.review.services import HOLD, Decision
from console.staff.models import User
from console.staff.services import require


@dataclass(frozen=True, slots=True)
class Seat:
    """An item as its page is to treat it for one person."""

    item: ReviewItem  # as the page shows it
    known: GoldAnswer | None  # not None: its answer is known and this person's can change, so the page lets on nothing

    @property
    def question(self) -> GoldAnswer | None:
        """What they are asked and have not answered."""
        return self.known if self.known is not None and self.known.answered_at is None else None

    @property
    def withheld(self) -> bool:
        """Whether the model's answer must not reach a person who may decide."""
        return queries.withholds(self.item)

    @property
    def set_aside(self) -> bool:
        """Whether a known answer's person is restricted: then its page lets on as little as that of an open item."""
        subject = self.question.gold.item.prediction.subject if self.question is not None else None
        return subject is not None and subject.restricted_at is not None

    @property
    def open(self) -> bool:
        """Whether it waits for an answer."""
        return self.question is not None or self.item.state != State.DECIDED


def seat(actor: User, item: ReviewItem) -> Seat:
    """At most two queries, for what is decided and whoever may decide."""
    if not actor.has_perm("review.decide_reviewitem"):
        return Seat(item, None)
    known = gold.question_on(actor, item.pk) if item.state == State.DECIDED else None
    if known is not None:
        return Seat(_in_disguise(item, actor, known), known)
    settled = item.state != State.OPEN
    return Seat(_as_before(item) if settled and item.hides_opinions_from(actor) else item, None)


def seat_at(actor: User, item_id: int) -> Seat:
    """The same by number. At most two queries. Raises NotAllowed, NotFound."""
    require(actor, "review.decide_reviewitem")
    item = queries.items().filter(pk=item_id).first()
    if item is None:
        raise services.no_such_item(item_id)
    return seat(actor, item)


def _in_disguise(item: ReviewItem, actor: User, known: GoldAnswer) -> ReviewItem:
    """A decided item whose answer is known, as one that waits for this person, or that they decided just now."""
    shown = copy(item)
    shown.blind = shown.blind or known.blind
    if known.blind:
        shown.withheld_until = known.open_until
    if known.answered_at is None:
        shown.state, shown.held_by, shown.held_until = State.OPEN, actor, now() + HOLD
    return shown


def _as_before(item: ReviewItem) -> ReviewItem:
    """An item as it waits for another opinion: that it is settled, or disputed, would tell what the others said."""
    shown = copy(item)
    shown.state, shown.held_by, shown.held_until = State.OPEN, None, None
    return shown


def withheld_from(actor: User, at: Seat) -> bool:
    """Whether the model's answer must not reach this person yet."""
    return at.withheld and actor.has_perm("review.decide_reviewitem")


def choices_for(actor: User, at: Seat) -> Sequence[KnownClass]:
    """The classes that it can be, the model's best first where that may be known. One query."""
    classes = classes_of(at.item.prediction)
    return in_order_of_ids(classes) if withheld_from(actor, at) else classes


def pictures_for(actor: User, at: Seat, *, routes: str = PAGES) -> list[Picture]:
    """The views with addresses of what this person may see; no heat map before the model is heard. Two queries."""
    prediction = at.item.prediction
    seen = pictures(prediction, prediction.detail(), actor, routes=routes)
    return [replace(picture, heat_map="") for picture in seen] if withheld_from(actor, at) else seen


def said(actor: User, at: Seat) -> QuerySet[ExpertDecision]:
    """What was decided before, the one in force first; nothing of it where that would sway who is asked now."""
    decisions = queries.decisions_on(at.item.prediction_id)
    return decisions.none() if at.known is not None or at.item.hides_opinions_from(actor) else decisions


def next_item(*, actor: User, passing_over: int = 0, state: State = State.OPEN) -> int | None:
    """The number of the item to look at next, held for this person; None when nothing waits. Raises NotAllowed.

    What they hold comes first: what was fetched ahead, or left open when the browser was closed.
    """
    held = services.held_by(actor, passing_over=passing_over, state=state)
    if held is not None:
        try:
            return services.take(actor=actor, item_id=held.pk).pk
        except Conflict:
            pass  # their time ran out this moment, and somebody was faster
    if state == State.OPEN and services.anything_waits(actor):
        question = gold.next_question(actor, passing_over=passing_over)
        if question is not None:
            return question.gold.item_id
    item = services.take_next(actor=actor, passing_over=passing_over, state=state)
    return None if item is None else item.pk


def look_ahead(*, actor: User, after: int) -> int | None:
    """What comes when the open item `after` is decided, held and not begun; None when nothing does."""
    number = next_item(actor=actor, passing_over=after)
    if number is not None:
        services.reserve(actor=actor, item_id=number)
    return number


def decide(*, actor: User, at: Seat, decision: Decision) -> ExpertDecision:
    """What was decided; of what is known, as it would be of another item, and kept apart. Raises what
    `services.decide` does.
    """
    asked = at.question
    if asked is None:
        return services.decide(actor=actor, item_id=at.item.pk, decision=decision)
    gold.answer(actor=actor, question=asked, decision=decision)
    moment = now()
    return ExpertDecision(
        pk=asked.pk,
        item=at.item,
        round=1,
        expert=actor,
        decided=decision.decided,
        class_id=decision.class_id,
        agrees=None if asked.blind else services.agrees(at.item.prediction, decision),
        note=decision.note,
        took_s=(moment - asked.asked_at).total_seconds(),
        decided_at=moment,
    )


def take(*, actor: User, item_id: int) -> ReviewItem:
    """Hold an item. Whoever is asked it has no rivals where its answer is known. Raises what `services.take` does."""
    at = seat_at(actor, item_id)
    if at.question is None:
        return services.take(actor=actor, item_id=item_id)
    if at.set_aside:
        raise services.left_alone()
    return at.item


def give_back(*, actor: User, item_id: int) -> None:
    """Let it go, for another time or for somebody else. Harmless when it is not theirs."""
    services.give_back(actor=actor, item_id=item_id)
    gold.skip(actor=actor, item_id=item_id)


def take_back(*, actor: User, item_id: int) -> ReviewItem:
    """Undo one's own newest decision while it is fresh; the item, held again. Raises what `services.take_back` does."""
    if gold.take_back(actor=actor, item_id=item_id):
        return seat_at(actor, item_id).item
    return services.take_back(actor=actor, item_id=item_id)
