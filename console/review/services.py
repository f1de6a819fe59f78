"""What moves review items: one function per arrow of the drawing in `models`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.services import record
from console.errors import Conflict, Invalid, NotFound
from console.leases import over
from console.predictions.models import FeedbackKind, Prediction, Verdict
from console.predictions.names import classes_of
from console.review.models import TAKE_BACK, Decided, ExpertDecision, Part, ReviewItem, State, Why
from console.review.queries import set_aside, spoken
from console.staff.models import User
from console.staff.services import require
from console.vault import queries as vault

CONFIDENCE_MIN: Final = 0.75  # below, a person looks, however sure the verdict is
HOLD: Final = timedelta(minutes=10)
NOTE_MAX: Final = 500
# Until an item is settled nobody knows when its answer may be shown.
NOT_YET: Final = datetime(9999, 1, 1, tzinfo=UTC)
# What a caller says that contradicts the answer; a confirmation is good news.
CONTRADICTIONS: Final = frozenset({FeedbackKind.WRONG, FeedbackKind.NOT_OUR_KIND, FeedbackKind.COMPLAINT})
_TRIES: Final = 5
_CANDIDATES: Final = 10
_LOOKED_AT: Final = 50  # photographs of which it is asked at once whether they are still kept


@dataclass(frozen=True, slots=True)
class Decision:
    """What an expert says of one item. `class_id` goes with Decided.CLASS and with nothing else."""

    decided: Decided
    class_id: str = ""
    note: str = ""


def check(decision: Decision) -> None:
    """Raises Invalid unless a class is named exactly where one was chosen, and the note is short enough."""
    if len(decision.note) > NOTE_MAX:
        raise Invalid(_("A note has at most {most} characters.").format(most=NOTE_MAX), field="note")
    if decision.decided == Decided.CLASS and not decision.class_id:
        raise Invalid(_("Which class is it?"), field="class_id")
    if decision.decided != Decided.CLASS and decision.class_id:
        raise Invalid(_("Only a decision for a class names one."), field="class_id")


def why_review(*, verdict: Verdict, confidence: float, wants_review: bool) -> Why | None:
    """Why a person should look at a fresh prediction; None when nobody need."""
    if verdict == Verdict.UNSURE:
        return Why.UNSURE
    if verdict == Verdict.OUT_OF_DISTRIBUTION:
        return Why.OUT_OF_DISTRIBUTION
    if confidence < CONFIDENCE_MIN:
        return Why.LOW_CONFIDENCE
    return Why.SAMPLED if wants_review else None


def new_item(prediction_id: UUID, *, why: Why, sampling_ratio: float, with_photograph: bool) -> ReviewItem:
    """A fresh prediction as an item, not saved; whether it is blind and how many opinions it needs is drawn.

    Both are drawn for what can be looked at alone, independently of each other and of the answer.
    """
    shares = settings.AMULET
    blind = with_photograph and _drawn(prediction_id, "blind") < shares.review_blind_ratio
    double = with_photograph and _drawn(prediction_id, "double") < shares.review_double_ratio
    return ReviewItem(
        prediction_id=prediction_id,
        why=why,
        sampling_ratio=sampling_ratio,
        with_photograph=with_photograph,
        blind=blind,
        withheld_until=NOT_YET if blind else None,
        opinions_wanted=shares.review_opinions if double else 1,
    )


def enqueue(items: Sequence[ReviewItem]) -> None:
    """Put fresh predictions into the queue, inside the caller's transaction."""
    ReviewItem.objects.bulk_create(items, batch_size=500)


def flag(predictions: Collection[Prediction], *, with_photograph: Collection[UUID]) -> None:
    """Their callers contradict them: into the queue, to its front, or back into it.

    Inside the caller's transaction, under the audit head's lock: nobody enqueues meanwhile.
    """
    ids = [prediction.pk for prediction in predictions]
    items = ReviewItem.objects.filter(prediction__in=ids)
    queued = set(items.values_list("prediction_id", flat=True))
    items.exclude(state=State.DECIDED).update(why=Why.FLAGGED, sampling_ratio=1.0)
    # Whoever looks now may have seen what the model said and what was decided: one person, and not blind.
    items.filter(state=State.DECIDED).update(
        state=State.OPEN, why=Why.FLAGGED, sampling_ratio=1.0, held_by=None, held_since=None, held_until=None,
        blind=False, withheld_until=None, opinions_wanted=1, opinions=0,
    )  # fmt: skip
    enqueue(
        [
            ReviewItem(prediction_id=key, why=Why.FLAGGED, with_photograph=key in with_photograph)
            for key in ids
            if key not in queued
        ]
    )


@transaction.atomic
def take(*, actor: User, item_id: int) -> ReviewItem:
    """Hold an item for a while, so that nobody else reviews it unknowingly. Taking it again prolongs the hold.

    Raises NotAllowed, NotFound; Conflict when it is decided or set aside, somebody else holds it, or the
    actor has given an opinion of it and another person's is wanted.
    """
    require(actor, "review.decide_reviewitem")
    moment = now()
    free = _not_held(actor, moment)
    mine = Q(held_by=actor, held_since__isnull=False)
    open_items = ReviewItem.objects.exclude(state=State.DECIDED).filter(~spoken(actor), ~set_aside(), pk=item_id)
    moved = open_items.filter(mine).update(held_until=moment + HOLD) or open_items.filter(free).update(
        held_by=actor, held_since=moment, held_until=moment + HOLD
    )
    if not moved:
        raise _why_not(item_id, actor)
    item = ReviewItem.objects.select_related("prediction").get(pk=item_id)
    if item.blind and item.with_photograph:  # nobody is to answer first of what nobody can see
        _mark_what_is_gone(ReviewItem.objects.filter(pk=item_id))
        item.refresh_from_db(fields=["blind", "withheld_until", "opinions_wanted", "with_photograph"])
    return item


def take_next(*, actor: User, passing_over: int = 0, state: State = State.OPEN) -> ReviewItem | None:
    """Hold the most urgent free item, though not that one; None when nothing waits for this person.

    state: OPEN for the queue, DISPUTED for disagreements to settle. Raises NotAllowed.
    """
    require(actor, "review.decide_reviewitem")
    for _try in range(_TRIES):
        waiting = _free(actor).filter(state=state).exclude(pk=passing_over)
        urgent = waiting.order_by("-with_photograph", "why", "created_at", "pk")
        _mark_what_is_gone(urgent.filter(with_photograph=True))  # what comes after those stands first then
        for item_id in urgent.values_list("pk", flat=True)[:_CANDIDATES]:
            try:
                return take(actor=actor, item_id=item_id)
            except Conflict:
                continue  # somebody was faster
        if not waiting.exists():
            return None
    return None


def _mark_what_is_gone(items: QuerySet[ReviewItem]) -> None:
    """Of the first of these items that wait, those whose photograph was deleted since wait as such that never had one:
    behind the others, with the model heard, and for one person if nobody has spoken. Two queries where there are none.

    A consent ends at an instant, and nobody tells the queue: whoever takes an item looks.
    """
    first = dict(items.values_list("pk", "prediction_id")[:_LOOKED_AT])
    kept = vault.kept_of(map(str, first.values())) if first else {}
    gone = [key for key, owner in first.items() if str(owner) not in kept]
    if not gone:
        return
    waiting = ReviewItem.objects.exclude(state=State.DECIDED).filter(pk__in=gone)
    waiting.filter(opinions=0).update(blind=False, withheld_until=None, opinions_wanted=1)
    waiting.update(with_photograph=False)


def anything_waits(actor: User) -> bool:
    """Whether an open item is free for this person. One query."""
    return _free(actor).filter(state=State.OPEN).exists()


def held_by(actor: User, *, passing_over: int, state: State) -> ReviewItem | None:
    """What this person holds already, and goes on with. One query."""
    mine = _free(actor).filter(held_by=actor, held_until__gt=now(), state=state)
    return mine.exclude(pk=passing_over).order_by("held_until", "pk").first()


def reserve(*, actor: User, item_id: int) -> None:
    """Hold on to an item that is looked at later: the time that its decision takes begins when it is taken again."""
    ReviewItem.objects.filter(pk=item_id, held_by=actor).update(held_since=None)


@transaction.atomic
def give_back(*, actor: User, item_id: int) -> None:
    """Let go of an item. Harmless when the actor does not hold it."""
    ReviewItem.objects.filter(pk=item_id, held_by=actor).update(held_by=None, held_since=None, held_until=None)


@transaction.atomic
def decide(*, actor: User, item_id: int, decision: Decision) -> ExpertDecision:
    """Record what the expert who holds an item says of it, with its audit entry, and move the item on.

    Raises NotAllowed, NotFound, Invalid; Conflict when it is decided or set aside, or somebody else took it.
    """
    require(actor, "review.decide_reviewitem")
    check(decision)
    moment = now()
    held = ReviewItem.objects.exclude(state=State.DECIDED).filter(~set_aside(), pk=item_id, held_by=actor)
    item = held.select_related("prediction").first()
    if item is None:
        raise _why_not(item_id, actor)
    part, after = _part_of(item), _after(item, decision)
    moved = held.filter(state=item.state, rounds=item.rounds, opinions=item.opinions).update(
        state=after,
        rounds=F("rounds") + 1,
        opinions=F("opinions") + int(part == Part.OPINION),
        held_by=None,
        held_until=None,
        withheld_until=moment + TAKE_BACK if item.blind and after == State.DECIDED else item.withheld_until,
    )
    if not moved:
        raise _why_not(item_id, actor)
    prediction = item.prediction
    if decision.class_id and decision.class_id not in {known.class_id for known in classes_of(prediction)}:
        raise Invalid(
            _("{id} is no class of {version}.").format(id=repr(decision.class_id), version=prediction.version),
            field="class_id",
        )
    made = ExpertDecision.objects.create(
        item=item,
        round=item.rounds + 1,
        part=part,
        blind=item.blind,
        expert=actor,
        decided=decision.decided,
        class_id=decision.class_id,
        agrees=agrees(prediction, decision),
        note=decision.note,
        took_s=max(0.0, (moment - item.held_since).total_seconds()) if item.held_since else None,
        decided_at=moment,
    )
    record(
        actor=actor,
        action="review.decided",
        subject_type="prediction",
        subject_id=str(prediction.pk),
        details={
            "decided": str(decision.decided),
            "class": decision.class_id,
            "agrees": made.agrees,
            "round": made.round,
            "part": str(part),
            "blind": made.blind,
            "model_class": prediction.top_class,
            "model_verdict": Verdict(prediction.verdict).name,
            "version": prediction.version,
        },
    )
    return made


@transaction.atomic
def take_back(*, actor: User, item_id: int) -> ReviewItem:
    """Undo one's own newest decision while it is fresh: it counts nowhere, and the actor holds the item again.

    The audit trail keeps both the decision and that it was taken back. Raises NotAllowed, NotFound;
    Conflict when it is somebody else's, older than TAKE_BACK, or the item was opened again since.
    """
    require(actor, "review.decide_reviewitem")
    moment = now()
    made = ExpertDecision.objects.select_related("item__prediction").filter(item=item_id).order_by("-round").first()
    if made is None:
        raise NotFound(_("There is no decision to take back."))
    if made.expert_id != actor.pk:
        raise Conflict(_("Somebody else decided it."), reason="not_yours")
    if made.decided_at < moment - TAKE_BACK:
        raise Conflict(
            _("A decision can be taken back for {minutes} minutes.").format(minutes=TAKE_BACK // timedelta(minutes=1)),
            reason="too_late",
        )
    item = made.item
    opened_again = item.state != State.DECIDED if made.part != Part.OPINION else item.opinions_wanted == 1
    if opened_again or item.rounds != made.round:
        raise Conflict(_("It has been opened again since."), reason="opened_again")
    free = _not_held(actor, moment)
    moved = ReviewItem.objects.filter(free, pk=item_id, state=item.state, rounds=made.round).update(
        state=State.DISPUTED if made.part == Part.SETTLEMENT else State.OPEN,
        rounds=F("rounds") - 1,
        opinions=F("opinions") - int(made.part == Part.OPINION),
        held_by=actor,
        held_since=moment,
        held_until=moment + HOLD,
        withheld_until=NOT_YET if item.blind else None,
    )
    if not moved:
        raise Conflict(_("Somebody else is reviewing it by now."), reason="held_by_another")
    record(
        actor=actor,
        action="review.taken_back",
        subject_type="prediction",
        subject_id=str(item.prediction_id),
        details={"decided": str(made.decided), "class": made.class_id, "round": made.round},
    )
    made.delete()
    return ReviewItem.objects.select_related("prediction").get(pk=item_id)


def left_alone() -> Conflict:
    """Why nobody is asked about a photograph that waits."""
    return Conflict(
        _("The person asked that their data be left alone. It waits until a privacy officer lifts that."),
        reason="restricted",
    )


def agrees(prediction: Prediction, decision: Decision) -> bool | None:
    """Whether the expert confirms what the model said; None where there is nothing to compare."""
    out = prediction.verdict == Verdict.OUT_OF_DISTRIBUTION
    if decision.decided == Decided.NOT_OUR_KIND:
        return out
    if decision.decided == Decided.CLASS:
        return not out and decision.class_id == prediction.top_class
    return None


def no_such_item(item_id: int) -> NotFound:
    return NotFound(_("There is no review item {id}.").format(id=item_id))


def _drawn(prediction_id: UUID, purpose: str) -> float:
    """A number in [0, 1) from the random bits of the id: an event that comes twice is drawn alike."""
    digest = hashlib.sha256(f"{purpose} {prediction_id}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56


def _free(actor: User) -> QuerySet[ReviewItem]:
    """Items that are not set aside, that nobody else holds and of which this person's opinion is still wanted."""
    return ReviewItem.objects.filter(_not_held(actor, now()), ~spoken(actor), ~set_aside())


def _not_held(actor: User, at: datetime) -> Q:
    """Items that nobody else holds."""
    return Q(held_by=None) | Q(held_by=actor) | over("held_until", longest=HOLD, at=at)


def _part_of(item: ReviewItem) -> Part:
    if item.state == State.DISPUTED:
        return Part.SETTLEMENT
    return Part.OPINION if item.opinions_wanted > 1 else Part.ALONE


def _after(item: ReviewItem, decision: Decision) -> State:
    """Where a decision moves an item."""
    if _part_of(item) != Part.OPINION:
        return State.DECIDED
    if item.opinions + 1 < item.opinions_wanted:
        return State.OPEN
    said = set(item.decisions.filter(part=Part.OPINION).values_list("decided", "class_id"))
    return State.DECIDED if said == {(decision.decided.value, decision.class_id)} else State.DISPUTED


def _why_not(item_id: int, actor: User) -> Exception:
    item = ReviewItem.objects.select_related("held_by").filter(pk=item_id).first()
    if item is None:
        return no_such_item(item_id)
    if item.state == State.DECIDED and not item.hides_opinions_from(actor):
        return Conflict(_("It has been decided already."), reason="already_decided")
    if ReviewItem.objects.filter(set_aside(), pk=item_id).exists():
        return left_alone()
    if ReviewItem.objects.filter(spoken(actor), pk=item_id).exists():
        return Conflict(_("You have given your opinion of it; now another person is asked."), reason="already_spoken")
    if item.held_by is None:
        return Conflict(_("Take the item before you decide."), reason="not_held")
    return Conflict(_("{name} is reviewing it.").format(name=item.held_by.get_username()), reason="held_by_another")
