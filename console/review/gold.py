"""Known answers: photographs that somebody answers for, mixed unmarked into the queues of others (decision 0069).

    decided item ──make──▶ gold ──ask──▶ question of one expert ──answer──▶ right or wrong
                            │                    ▲      │ skip: never asked   │
                            └─retire: asked no more     ▼ (asked again later) └─take back

An expert is asked at most once about one of them, and never about what they decided themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import SystemRandom
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.services import record
from console.errors import Conflict, Invalid, NotFound
from console.predictions.names import classes_of
from console.review.models import TAKE_BACK, Decided, ExpertDecision, GoldAnswer, GoldItem, ReviewItem, State
from console.review.queries import set_aside
from console.review.services import NOT_YET, Decision, check, left_alone
from console.staff.models import User
from console.staff.services import require
from console.vault import queries as vault

LEAD: Final = "review.lead_reviewitem"
# What a photograph shows; "cannot tell" is true of an expert and not of a photograph.
KNOWABLE: Final = (Decided.CLASS, Decided.NOT_OUR_KIND)
_TRIES: Final = 5  # of which one still has its photograph, if any has
_random: Callable[[], float] = SystemRandom().random  # no expert may foresee it


@transaction.atomic
def make_gold(*, actor: User, item_id: int, reason: str) -> GoldItem:
    """Hold the decision in force of an item for the truth.

    Raises NotAllowed, NotFound; Conflict when it is not decided for a class or for none of ours, when
    its photograph is not kept or the person is restricted, or when it is gold already.
    """
    require(actor, LEAD)
    item = ReviewItem.objects.select_related("prediction").filter(pk=item_id).first()
    if item is None:
        raise NotFound(_("There is no review item {id}.").format(id=item_id))
    truth = item.decisions.filter(round=F("item__rounds"), decided__in=KNOWABLE).first()
    if item.state != State.DECIDED or truth is None:
        raise Conflict(_("Only what is decided for a class, or for none of ours, can be known."), reason="not_decided")
    if ReviewItem.objects.filter(set_aside(), pk=item_id).exists():
        raise left_alone()
    if not item.with_photograph:
        raise Conflict(_("Its photograph is not kept, so nobody could be asked."), reason="no_photograph")
    gold, new = GoldItem.objects.get_or_create(
        item=item, defaults={"decided": truth.decided, "class_id": truth.class_id, "made_by": actor}
    )
    if not new:
        raise Conflict(_("It is one of the known answers already."), reason="gold_already")
    record(
        actor=actor,
        action="review.gold_made",
        subject_type="prediction",
        subject_id=str(item.prediction_id),
        details={"decided": truth.decided, "class": truth.class_id, "reason": reason},
    )
    return gold


@transaction.atomic
def retire_gold(*, actor: User, gold_id: int, wrong: bool, reason: str) -> None:
    """Ask nobody any more. What was answered stays counted, unless what was held to be known is `wrong`.

    Raises NotAllowed, NotFound; Conflict when it is retired already.
    """
    require(actor, LEAD)
    gold = GoldItem.objects.select_related("item").filter(pk=gold_id).first()
    if gold is None:
        raise NotFound(_("There is no known answer {id}.").format(id=gold_id))
    if not GoldItem.objects.filter(pk=gold_id, retired_at=None).update(retired_at=now(), wrong=wrong):
        raise Conflict(_("It has been retired already."), reason="retired_already")
    gold.answers.filter(answered_at=None).delete()
    record(
        actor=actor,
        action="review.gold_retired",
        subject_type="prediction",
        subject_id=str(gold.item.prediction_id),
        details={"wrong": wrong, "reason": reason},
    )


def question_on(actor: User, item_id: int) -> GoldAnswer | None:
    """What this person is asked about an item, and what they said while that can change; else None. One query."""
    return (
        GoldAnswer.objects.select_related("gold__item__prediction__subject")
        .filter(expert=actor, gold__item=item_id, open_until__gt=now())
        .first()
    )


def next_question(actor: User, *, passing_over: int) -> GoldAnswer | None:
    """A question that stands open, or by chance a new one; None where the next photograph is an ordinary one.

    Raises NotAllowed.
    """
    require(actor, "review.decide_reviewitem")
    mine = GoldAnswer.objects.select_related("gold").filter(expert=actor, answered_at=None)
    workable = ReviewItem.objects.filter(~set_aside(), state=State.DECIDED)
    standing = mine.filter(gold__item__in=workable).exclude(gold__item=passing_over).first()
    if standing is not None:
        return standing
    if _random() >= settings.AMULET.review_gold_ratio:
        return None
    unknown = (
        GoldItem.objects.filter(retired_at=None, item__in=workable.filter(with_photograph=True))
        .exclude(answers__expert=actor)
        .exclude(item__decisions__expert=actor)
        .exclude(item=passing_over)
    )
    gold = _with_photograph(list(unknown.select_related("item").order_by("?")[:_TRIES]))
    if gold is None:
        return None
    blind = _random() < settings.AMULET.review_blind_ratio
    asked = GoldAnswer(gold=gold, expert=actor, blind=blind, open_until=NOT_YET)
    GoldAnswer.objects.bulk_create([asked], ignore_conflicts=True)
    return mine.filter(gold=gold).first()  # none where another window of theirs has answered it since


def _with_photograph(some: Sequence[GoldItem]) -> GoldItem | None:
    """The first whose photograph can still be looked at. One query."""
    kept = vault.kept_of(str(gold.item.prediction_id) for gold in some)
    return next((gold for gold in some if kept.get(str(gold.item.prediction_id), vault.Kept()).photographs), None)


@transaction.atomic
def skip(*, actor: User, item_id: int) -> None:
    """Ask this person some other time. Harmless where nothing was asked."""
    GoldAnswer.objects.filter(expert=actor, gold__item=item_id, answered_at=None).delete()


@transaction.atomic
def answer(*, actor: User, question: GoldAnswer, decision: Decision) -> None:
    """Record what an expert says of a photograph whose answer is known.

    Raises NotAllowed, Invalid; Conflict when it is answered already, or the person is restricted by now.
    """
    require(actor, "review.decide_reviewitem")
    check(decision)
    if ReviewItem.objects.filter(set_aside(), pk=question.gold.item_id).exists():
        raise left_alone()
    gold, prediction = question.gold, question.gold.item.prediction
    if decision.class_id and decision.class_id not in {known.class_id for known in classes_of(prediction)}:
        raise Invalid(
            _("{id} is no class of {version}.").format(id=repr(decision.class_id), version=prediction.version),
            field="class_id",
        )
    right = (decision.decided, decision.class_id) == (gold.decided, gold.class_id)
    moment = now()
    moved = GoldAnswer.objects.filter(pk=question.pk, expert=actor, answered_at=None).update(
        decided=decision.decided, class_id=decision.class_id, note=decision.note, right=right, answered_at=moment,
        open_until=moment + TAKE_BACK,
    )  # fmt: skip
    if not moved:
        raise Conflict(_("It has been decided already."), reason="already_decided")
    record(
        actor=actor,
        action="review.gold_answered",
        subject_type="prediction",
        subject_id=str(prediction.pk),
        details={
            "decided": str(decision.decided), "class": decision.class_id, "right": right, "blind": question.blind
        },
    )  # fmt: skip


@transaction.atomic
def take_back(*, actor: User, item_id: int) -> bool:
    """Undo one's own fresh answer, and be asked again; False where there is none on this item."""
    answered = GoldAnswer.objects.filter(expert=actor, gold__item=item_id, answered_at__gte=now() - TAKE_BACK)
    found = answered.select_related("gold__item").first()
    if found is None or ExpertDecision.objects.filter(item=item_id, expert=actor).exists():
        return False
    answered.update(decided="", class_id="", note="", right=None, answered_at=None, asked_at=now(), open_until=NOT_YET)
    record(
        actor=actor,
        action="review.gold_taken_back",
        subject_type="prediction",
        subject_id=str(found.gold.item.prediction_id),
        details={"decided": found.decided, "class": found.class_id},
    )
    return True
