"""The numbers on the home page: how many of each kind of thing wait for a person, and where to see to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from django.db.models import CharField, Count, Q, QuerySet, Value
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, ngettext_lazy

from console.audit.queries import newest
from console.datasets.models import Proposal
from console.drift.queries import alerts
from console.privacy.clocks import SOON_DAYS
from console.privacy.queries import due_within
from console.registry.models import State
from console.registry.queries import waiting_in
from console.retention.queries import overdue
from console.retraining.models import Plan
from console.review.models import State as ReviewState
from console.review.queries import disputed_items, open_items, spoken
from console.rollout.queries import unseen
from console.staff.models import User


class Number(StrEnum):
    """What a card counts."""

    REVIEWS = "reviews"
    DISPUTES = "review_disputes"
    VERSIONS_SMOKE_TESTED = "versions_smoke_tested"
    VERSIONS_VERIFIED = "versions_verified"
    VERSIONS_FAILED = "versions_failed"
    GUARDRAILS = "guardrails"
    PROPOSALS = "retraining_proposals"
    PLANS = "retraining_plans"
    DRIFT = "drift_findings"
    RETENTION = "retention_rules"
    REQUESTS = "privacy_requests"


@dataclass(frozen=True, slots=True)
class Card:
    """A number with what it counts, and where to see to it."""

    what: Number
    number: int
    text: str
    url: str
    icon: str
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a card counts, and who sees it."""

    what: Number
    permission: str
    rows: Callable[[], QuerySet[Any]]
    text: Any  # below the number, which it goes by
    page: str  # the list of them, or the nearest one
    icon: str
    filter: str = ""  # of that list
    own: Callable[[User], Q] | None = None  # which of them are for this person, where not all are
    late: Callable[[], QuerySet[Any]] | None = None  # those of them that are overdue
    always_late: bool = False
    if_any: bool = False  # no card where there is none


# In the order in which they stand.
_KINDS: Final = (
    _Kind(
        Number.REVIEWS,
        "review.view_reviewitem",
        open_items,
        ngettext_lazy("photograph waits for an expert", "photographs wait for an expert"),
        "review_reviewitem",
        "rate_review",
    ),
    _Kind(
        Number.DISPUTES,
        "review.view_reviewitem",
        disputed_items,
        ngettext_lazy(
            "disagreement of experts waits for a third person", "disagreements of experts wait for a third person"
        ),
        "review_reviewitem",
        "balance",
        f"state__exact={ReviewState.DISPUTED}",
        own=lambda person: ~spoken(person),
        if_any=True,
    ),
    _Kind(
        Number.VERSIONS_SMOKE_TESTED,
        "registry.view_modelversion",
        lambda: waiting_in(State.SMOKE_TESTED),
        ngettext_lazy("version waits for a second person's approval", "versions wait for a second person's approval"),
        "registry_modelversion",
        "approval",
        f"state__exact={State.SMOKE_TESTED}",
    ),
    _Kind(
        Number.VERSIONS_VERIFIED,
        "registry.view_modelversion",
        lambda: waiting_in(State.VERIFIED),
        ngettext_lazy("version waits for its smoke test", "versions wait for their smoke test"),
        "registry_modelversion",
        "science",
        f"state__exact={State.VERIFIED}",
    ),
    _Kind(
        Number.VERSIONS_FAILED,
        "registry.view_modelversion",
        lambda: waiting_in(State.FAILED),
        ngettext_lazy("version failed its smoke test", "versions failed their smoke test"),
        "registry_modelversion",
        "error",
        f"state__exact={State.FAILED}",
    ),
    _Kind(
        Number.GUARDRAILS,
        "rollout.view_route",
        unseen,
        ngettext_lazy("guardrail fired and nobody took note", "guardrails fired and nobody took note"),
        "rollout_route",
        "gpp_maybe",
        if_any=True,
    ),
    _Kind(
        Number.PROPOSALS,
        "datasets.view_dataset",
        Proposal.objects.all,
        ngettext_lazy("model should learn anew", "models should learn anew"),
        "datasets_dataset",
        "model_training",
        if_any=True,
    ),
    _Kind(
        Number.PLANS,
        "datasets.view_dataset",
        Plan.objects.all,
        ngettext_lazy(
            "version learnt from people who were erased since", "versions learnt from people who were erased since"
        ),
        "retraining_trainingjob",
        "person_remove",
        late=lambda: Plan.objects.filter(due_at__lt=now()),
        if_any=True,
    ),
    _Kind(
        Number.DRIFT,
        "drift.view_finding",
        alerts,
        ngettext_lazy("drift alert is open", "drift alerts are open"),
        "drift_finding",
        "monitoring",
        "outcome__exact=drift",
    ),
    _Kind(
        Number.RETENTION,
        "privacy.view_privacyrequest",
        lambda: overdue(now()),
        ngettext_lazy("rule of retention is overdue", "rules of retention are overdue"),
        "retention_applied",
        "auto_delete",
        always_late=True,
        if_any=True,
    ),
    _Kind(
        Number.REQUESTS,
        "privacy.view_privacyrequest",
        lambda: due_within(SOON_DAYS, now()),
        ngettext_lazy("privacy request is due within {days} days", "privacy requests are due within {days} days"),
        "privacy_privacyrequest",
        "shield_person",
    ),
)
_AUDIT: Final = "audit"


def cards_for(person: User) -> tuple[Sequence[Card], int | None]:
    """Also how many entries the audit trail has, which the same query reads; None: not for this person."""
    kinds = [kind for kind in _KINDS if person.has_perm(kind.permission)]
    asked = {kind.what.value: kind.rows().filter(kind.own(person) if kind.own else Q()) for kind in kinds}
    asked |= {_late(kind): kind.late() for kind in kinds if kind.late is not None}
    sees_audit = person.has_perm("audit.view_entry")
    numbers = _counted(asked, with_audit=sees_audit)
    cards = [_card(kind, numbers) for kind in kinds if numbers[kind.what] or not kind.if_any]
    return cards, numbers[_AUDIT] if sees_audit else None


def _late(kind: _Kind) -> str:
    return f"{kind.what}_late"


def _card(kind: _Kind, numbers: Mapping[str, int]) -> Card:
    number, late = numbers[kind.what], numbers.get(_late(kind), 0)
    text = str(kind.text % number).format(days=SOON_DAYS)
    if late and number == 1:
        text = _("{text}; it is overdue").format(text=text)
    elif late:
        text = ngettext("{text}; {late} of them is overdue", "{text}; {late} of them are overdue", late).format(
            text=text, late=late
        )
    url = reverse(f"admin:{kind.page}_changelist") + (f"?{kind.filter}" if kind.filter else "")
    return Card(kind.what, number, text, url, kind.icon, kind.always_late or bool(late))


def _counted(asked: Mapping[str, QuerySet[Any]], *, with_audit: bool) -> Mapping[str, int]:
    """How many rows each has, and the number of the newest audit entry; one query for all."""
    found = dict.fromkeys((*asked, _AUDIT), 0)
    counts = [
        rows.order_by()
        .values(name=Value(str(name), CharField()))
        .annotate(number=Count("pk"))
        .values_list("name", "number")
        for name, rows in asked.items()
    ]
    if with_audit:
        counts.append(newest().values_list(Value(_AUDIT, CharField()), "sequence"))
    if counts:
        found |= dict(counts[0].union(*counts[1:], all=True))
    return found
