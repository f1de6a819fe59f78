"""What is asked of the review queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import (
    Avg,
    Count,
    DurationField,
    Exists,
    F,
    FilteredRelation,
    Func,
    IntegerField,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
)
from django.db.models.functions import Cast
from django.utils.timezone import now

from console.predictions.models import Span, Tally
from console.predictions.queries import of_restricted
from console.predictions.tallies import begin_of
from console.review.accuracy import Group, Stratum, accuracy
from console.review.agreement import Concord, Share, Sway, concord, sway, wilson
from console.review.models import TAKE_BACK, VOICES, Decided, ExpertDecision, GoldAnswer, Part, ReviewItem, State, Why
from console.staff.models import User

_IDS_AT_ONCE: Final = 500
_ANSWERED: Final = "answered"  # no state: it tells rows of answers from rows of what waits
CLOCKS_APART_MAX: Final = timedelta(days=1)
ACCURACY_SPAN: Final = timedelta(days=30)
LATELY: Final = timedelta(days=30)  # of what is told of how experts agree with the model and with each other
BACKLOG_MAX: Final = timedelta(days=90)  # what waited longer before it was decided is left out where that costs time


@dataclass(frozen=True, slots=True)
class Measured:
    """How a version did in production."""

    model: str
    version: str
    answers: int
    in_queue: Share  # of what was reviewed: mostly hard cases, so this is not the accuracy
    accuracy: Share | None  # of all answers; None while nothing was reviewed


@dataclass(frozen=True, slots=True)
class Agreement:
    """What experts decided since a time."""

    decisions: int
    agreed: int
    compared: int  # decisions that agree or disagree; the others could not tell
    took_s: float | None  # mean

    @property
    def ratio(self) -> float | None:
        return self.agreed / self.compared if self.compared else None


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many items wait for a person."""

    by_why: Mapping[Why, int]  # open ones that a list shows: of few that it withholds, the reason would tell
    withheld: int  # open ones that it does not show, because they are answered before the model is heard
    disputed: int  # disagreements that a third person settles


def set_aside() -> Q:
    """Items about people who are restricted: nobody is asked about them until that is lifted, and then as before.

    Asked of the people each time and marked on no item: what comes in later has no mark.
    """
    return Q(prediction__in=of_restricted().values("pk"))


def open_items() -> QuerySet[ReviewItem]:
    """Items that wait for a person. Along the partial index of open ones."""
    return ReviewItem.objects.filter(~set_aside(), state=State.OPEN)


def open_count() -> int:
    """How many items wait for a person."""
    return open_items().count()


def open_count_told(person: User) -> int:
    """The same as its page tells whoever looks at one of them, which is one at least. One query.

    An answer to what is known takes nothing from the queue. Told so, whoever gave it would know which it was while they
    can still say something else.
    """
    # Of a row that is there: a query of nothing but counts is none of Django's.
    counts = User.objects.filter(pk=person.pk).values_list(
        _counted(open_items()), _counted(GoldAnswer.fresh().filter(expert=person))
    )
    open_now, fresh = counts.get()
    return max(1, int(open_now) - int(fresh))


def _counted(rows: QuerySet[Any]) -> Subquery:
    """How many there are, as a value within another query."""
    count = Func(function="COUNT", template="%(function)s(*)", output_field=IntegerField())
    return Subquery(rows.order_by().annotate(n=count).values("n"))


def disputed_count(person: User) -> int:
    """How many disagreements this person may settle."""
    return disputed_items().exclude(spoken(person)).count()


def spoken(person: User) -> Q:
    """Items of which this person has given an opinion, while another person's is wanted."""
    mine = ExpertDecision.objects.filter(item=OuterRef("pk"), expert=person, part__in=VOICES)
    return Q(opinions_wanted__gt=1) & Q(Exists(mine))


def disputed_items() -> QuerySet[ReviewItem]:
    """Disagreements that wait for a third person."""
    return ReviewItem.objects.filter(~set_aside(), state=State.DISPUTED)


def waiting(person: User) -> Waiting:
    """What waits, as lists tell this person. One query over items that are not decided, in their index alone, with what
    they answered lately though its answer is known; and one where there are disagreements: those in which this person
    has a part are for others.
    """
    decides = person.has_perm("review.decide_reviewitem")
    # What waits, and as often less as after any other answer: see `open_count_told`.
    answered = GoldAnswer.fresh().filter(expert=person).annotate(kind=Value(_ANSWERED), one=Value(1))
    rows = (
        ReviewItem.objects.filter(~set_aside(), state__in=(State.OPEN, State.DISPUTED))
        .values_list("state", "why")
        .annotate(all=Count("why"), hidden=Count("withheld_until", filter=Q(withheld_until__gt=now())))
        .order_by()
        .union(answered.values_list("kind", "gold__item__why", "one", Cast("blind", IntegerField())), all=True)
    )
    by_why = Counter[Why]()
    withheld = disputed = 0
    for kind, why, count, hidden in rows:
        hidden = hidden if decides else 0
        if kind == State.DISPUTED:
            disputed += count
            continue
        sign = -1 if kind == _ANSWERED else 1
        withheld += sign * hidden
        by_why[Why(why)] += sign * (count - hidden)
    if disputed and decides:
        disputed -= disputed_items().filter(spoken(person)).count()
    return Waiting({why: count for why, count in by_why.items() if count > 0}, max(0, withheld), disputed)


def items() -> QuerySet[ReviewItem]:
    """Items with their prediction and whoever holds them, in one query."""
    return ReviewItem.objects.select_related("prediction", "held_by")


def shown_to(person: User, rows: QuerySet[ReviewItem]) -> QuerySet[ReviewItem]:
    """Without what is set aside, what this person may be asked about before the model is heard, what they are asked
    though its answer is known, and what they can still say something else of: whether others agreed no list may say.
    """
    rows = rows.exclude(~Q(state=State.DECIDED) & set_aside())
    if not person.has_perm("review.decide_reviewitem"):
        return rows
    # A known answer is decided; to whom it is asked no list may say so.
    known = GoldAnswer.objects.filter(Q(answered_at=None) | Q(blind=True), expert=person, open_until__gt=now())
    fresh = ExpertDecision.fresh_opinions(person)
    hidden = Q(pk__in=known.values("gold__item")) | Q(pk__in=fresh.values("item"))
    return rows.exclude(withheld_until__gt=now()).exclude(hidden)


def withholds(item: ReviewItem) -> bool:
    """Whether the model's answer must not reach a person who may decide."""
    return item.withheld_until is not None and item.withheld_until > now()


def told() -> Q:
    """Decisions of which figures may say whether they agree with the model: one more would say it of a fresh one."""
    return ~Q(item__withheld_until__gt=now())


def with_fresh_known(
    decisions: int, took_s: float | None, *, of: QuerySet[GoldAnswer]
) -> tuple[int, float | None, int]:
    """How many decisions there are, how long they took in the mean, and how many blind ones come to them: with fresh
    answers to what is known, which nothing may tell from decisions yet. One query.
    """
    lately = of.aggregate(
        n=Count("pk"),
        blind=Count("pk", filter=Q(blind=True)),
        took=Sum(F("answered_at") - F("asked_at"), output_field=DurationField()),
    )
    if not lately["n"]:
        return decisions, took_s, 0
    whole_s = (took_s or 0.0) * decisions + lately["took"].total_seconds()
    together = decisions + lately["n"]
    return together, whole_s / together, lately["blind"]


def sway_since(moment: datetime) -> Sway:
    """How often experts agree with the model before and after they heard it. One query.

    Blind reviews are drawn at random among items with a photograph; what callers flagged later
    is never blind. Only what could have been either is compared. Of items that came at most BACKLOG_MAX before:
    else all that ever had a photograph is gone through, more with each year.
    """
    rows = ExpertDecision.objects.filter(
        told(),
        decided_at__gte=moment,
        agrees__isnull=False,
        item__with_photograph=True,
        item__created_at__gte=moment - BACKLOG_MAX,
    ).exclude(Q(part=Part.SETTLEMENT) | Q(item__why=Why.FLAGGED))
    counted = rows.aggregate(
        blind_agreed=Count("pk", filter=Q(blind=True, agrees=True)),
        blind_n=Count("pk", filter=Q(blind=True)),
        seen_agreed=Count("pk", filter=Q(blind=False, agrees=True)),
        seen_n=Count("pk", filter=Q(blind=False)),
    )
    return sway(**counted)


def concord_since(moment: datetime) -> Concord:
    """How far several experts agree with each other beyond chance. One query over double reviews.

    Without those whose last opinion can still change: one case more would tell that person what the others said.
    """
    rows = ExpertDecision.objects.filter(
        part=Part.OPINION, decided_at__gte=moment, item__opinions__gte=F("item__opinions_wanted")
    ).values_list("item", "decided", "class_id", "decided_at")
    fresh_since = now() - TAKE_BACK
    fresh: set[int] = set()
    cases: dict[int, list[str]] = {}
    for item, decided, class_id, decided_at in rows.order_by("item"):
        cases.setdefault(item, []).append(f"{decided}:{class_id}")
        if decided_at >= fresh_since:
            fresh.add(item)
    return concord([case for item, case in cases.items() if len(case) > 1 and item not in fresh])


def accuracy_since(moment: datetime) -> list[Measured]:
    """What production did since the day that began then, by model and version, most traffic first. Two queries.

    Each answer is in the stratum of the reason for which it came before a person; those that came for none
    are in the stratum of the sample. All that waits or waited counts as queued, decisions in force as reviewed.
    """
    days = Tally.objects.filter(span=Span.DAY, begins_at__gte=moment).order_by()
    traffic = {tuple(key): n for *key, n in days.values_list("model", "version").annotate(Sum("count"))}
    # An item is made after its answer was given: by this time its index finds the few that matter, whatever
    # came before. A gateway whose clock is ahead is allowed for.
    since = ReviewItem.objects.filter(
        created_at__gte=moment - CLOCKS_APART_MAX, prediction__happened_at__gte=moment
    ).annotate(in_force=FilteredRelation("decisions", condition=Q(decisions__round=F("rounds"))))
    judged = Q(state=State.DECIDED, in_force__agrees__isnull=False) & ~Q(withheld_until__gt=now())
    counted = (
        since.values_list("prediction__model", "prediction__version", "why", "sampling_ratio")
        .annotate(
            queued=Count("pk"),
            compared=Count("pk", filter=judged),
            agreed=Count("pk", filter=judged & Q(in_force__agrees=True)),
        )
        .order_by()
    )
    groups: dict[tuple[str, str], dict[Why, list[Group]]] = {}
    for model, version, why, ratio, queued, compared, agreed in counted:
        groups.setdefault((model, version), {}).setdefault(Why(why), []).append(Group(ratio, queued, compared, agreed))
    measured = [_measured(*key, traffic.get(key, 0), by_why) for key, by_why in groups.items()]
    return sorted(measured, key=lambda found: -found.answers)


def accuracy_lately() -> list[Measured]:
    """What production did in the last ACCURACY_SPAN; without versions of which nothing was judged."""
    begin = begin_of(Span.DAY, now() - ACCURACY_SPAN)
    return [measured for measured in accuracy_since(begin) if measured.accuracy is not None]


def _measured(model: str, version: str, all_answers: int, by_why: Mapping[Why, Sequence[Group]]) -> Measured:
    certain = [
        Stratum(sum(group.queued for group in groups), tuple(groups))
        for why, groups in by_why.items()
        if why != Why.SAMPLED
    ]
    sampled = tuple(by_why.get(Why.SAMPLED, ()))
    # The tallies were read a moment before the items: never fewer answers than are in the queue.
    rest = max(all_answers - sum(stratum.answers for stratum in certain), sum(group.queued for group in sampled))
    strata = (*certain, Stratum(rest, sampled))
    agreed = sum(group.agreed for stratum in strata for group in stratum.groups)
    in_queue = wilson(agreed, sum(stratum.compared for stratum in strata))
    return Measured(model, version, sum(stratum.answers for stratum in strata), in_queue, accuracy(strata))


def decisions_on(prediction_id: UUID) -> QuerySet[ExpertDecision]:
    """Decisions on one prediction, the one in force first; joins the expert."""
    return ExpertDecision.objects.select_related("expert").filter(item__prediction=prediction_id).order_by("-round")


def items_by_prediction(prediction_ids: Sequence[UUID]) -> Mapping[UUID, ReviewItem]:
    """Items by prediction, with all that experts said: decisions, the one in force first, and answers where it is a
    known one. A few queries for some hundred predictions.
    """
    found: dict[UUID, ReviewItem] = {}
    decisions = Prefetch("decisions", ExpertDecision.objects.order_by("-round"))
    rows = ReviewItem.objects.select_related("gold").prefetch_related(decisions, "gold__answers")
    for start in range(0, len(prediction_ids), _IDS_AT_ONCE):
        some = rows.filter(prediction__in=prediction_ids[start : start + _IDS_AT_ONCE])
        found.update((item.prediction_id, item) for item in some)
    return found


def agreement_since(moment: datetime) -> Agreement:
    """Experts against the model since a time, but for what can still change. One query along the index by time.

    An answer to what is known is no decision. Were others counted at once, whoever gave one would see that it was not.
    """
    counted = ExpertDecision.objects.filter(decided_at__gte=moment, decided_at__lt=now() - TAKE_BACK).aggregate(
        decisions=Count("pk"),
        agreed=Count("pk", filter=Q(agrees=True) & told()),
        compared=Count("pk", filter=Q(agrees__isnull=False) & told()),
        took_s=Avg("took_s"),
    )
    return Agreement(**counted)


def overrides_since(moment: datetime, *, model: str, fresh: bool) -> Mapping[str, tuple[int, int]]:
    """Version -> how many decisions in force override it, of how many that agree or disagree.

    fresh: with those that can change while whoever gave them must not hear whether the model, or others, said the
    same; to act by, and not to be told.
    Counts answers that were given, and decided, since then, without those of a version that no weight chose: nobody
    drew who gets them. One query over what people decided meanwhile, along the index by time.
    """
    rows = (
        ExpertDecision.objects.filter(
            ~Q(item__prediction__version_named=True),  # None: before that was kept
            ~Q(part=Part.OPINION) | Q(item__state=State.DECIDED),  # one of several is not in force yet
            decided_at__gte=moment,
            agrees__isnull=False,
            round=F("item__rounds"),
            item__prediction__model=model,
            item__prediction__happened_at__gte=moment,
        )
        .filter(Q() if fresh else _settled())
        .values_list("item__prediction__version")
        .annotate(overridden=Count("pk", filter=Q(agrees=False)), decided=Count("pk"))
        .order_by()
    )
    return {version: (overridden, decided) for version, overridden, decided in rows}


def _settled() -> Q:
    """Decisions that nobody learns anything from about one that they can still change: neither what the model said of a
    blind one, nor by the last opinion what the others were.
    """
    return told() & ~Q(part=Part.OPINION, decided_at__gte=now() - TAKE_BACK)


def classes_decided(
    since: datetime, until: datetime, *, model: str, versions: Collection[str], most: int
) -> list[ExpertDecision]:
    """Decisions in force for a class, newest first, on answers of these versions in that span; without those that can
    still change and must not be told. Joins the prediction.
    """
    return list(
        ExpertDecision.objects.filter(
            _settled(),
            ~Q(part=Part.OPINION) | Q(item__state=State.DECIDED),  # one of several is not in force yet
            decided_at__gte=since,
            decided=Decided.CLASS,
            round=F("item__rounds"),
            item__prediction__model=model,
            item__prediction__version__in=versions,
            item__prediction__happened_at__gte=since,
            item__prediction__happened_at__lt=until,
        )
        .select_related("item__prediction")
        .order_by("-decided_at")[:most]
    )


def labels_of(model: str, *, decided_before: datetime) -> QuerySet[ExpertDecision]:
    """Decisions in force that say what a kept photograph of a model shows, a class or none. Joins what they are of."""
    return (
        ExpertDecision.objects.filter(
            item__state=State.DECIDED,
            round=F("item__rounds"),
            decided__in=(Decided.CLASS, Decided.NOT_OUR_KIND),
            decided_at__lt=decided_before,
            item__with_photograph=True,
            item__prediction__model=model,
        )
        .select_related("item__prediction", "expert")
        .order_by("pk")
    )


def longest_waiting(person: User, most: int) -> list[ReviewItem]:
    """What waits for this person, the oldest first, with their predictions: open items and disagreements, without those
    of which they have spoken and those that somebody else looks at. One query along the index by state and age.
    """
    elsewhere = Q(held_until__gt=now()) & ~Q(held_by=None) & ~Q(held_by=person)
    first = Q()
    for state in (State.OPEN, State.DISPUTED):
        theirs = ReviewItem.objects.filter(~set_aside(), ~spoken(person), ~elsewhere, state=state)
        first |= Q(pk__in=theirs.order_by("created_at").values("pk")[:most])
    return list(items().filter(first).order_by("created_at")[:most])
