"""The home page: what needs a person now, what answers, whether everything runs, and how it went lately.

Its cost is constant: numbers come from partial indexes and tallies, lists are cut, and what other
processes have to say they have said to the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from django.db.models import CharField, Count, QuerySet, Value
from django.http import HttpRequest
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, ngettext_lazy

from console.audit.queries import newest
from console.datasets.models import Proposal
from console.drift.queries import alerts
from console.predictions.names import class_names
from console.predictions.page import DISCLAIMERS
from console.predictions.queries import newest_first
from console.privacy.clocks import SOON_DAYS
from console.privacy.queries import due_within
from console.pulse.models import Service
from console.pulse.queries import Health, service_states
from console.registry.models import State
from console.registry.queries import waiting_for_approval, waiting_in
from console.retention.queries import overdue
from console.retraining.models import Plan
from console.review.models import Why
from console.review.queries import longest_waiting, open_items, withholds
from console.rollout.models import Rule
from console.rollout.queries import rollback_of, served_models, unseen, unseen_firings
from console.rollout.route_page import firing_outcome, firing_sentence
from console.site.traffic import traffic
from console.site.urgent import urgent
from console.staff.models import User
from console.staff.rest import actor_of

WAITING_MAX: Final = 5
_HEALTH: Final[Mapping[Health, tuple[object, str]]] = {
    Health.WELL: (gettext_lazy("runs"), "success"),
    Health.UNWELL: (gettext_lazy("in trouble"), "danger"),
    Health.SILENT: (gettext_lazy("silent"), "danger"),
    Health.UNKNOWN: (gettext_lazy("never heard of"), "warning"),
}
_SERVICES: Final[Mapping[Service, object]] = {
    Service.GATEWAY: gettext_lazy("Gateway"),
    Service.TORCHSERVE: gettext_lazy("TorchServe"),
    Service.WORKER: gettext_lazy("Worker and timer"),
    Service.SIGNER: gettext_lazy("Signer of the audit trail"),
}


class Number(StrEnum):
    """What a card counts."""

    REVIEWS = "reviews"
    VERSIONS_SMOKE_TESTED = "versions_smoke_tested"
    VERSIONS_VERIFIED = "versions_verified"
    VERSIONS_FAILED = "versions_failed"
    GUARDRAILS = "guardrails"
    PROPOSALS = "retraining_proposals"
    PLANS = "retraining_plans"
    DRIFT = "drift_findings"
    RETENTION = "retention_rules"
    REQUESTS = "privacy_requests"


class Thing(StrEnum):
    """What one thing that waits is."""

    GUARDRAIL = "guardrail"
    REQUEST = "privacy_request"
    DRIFT = "drift_finding"
    VERSION = "version"
    REVIEW = "review"


# What stands below each number; it goes by the number.
_TEXTS: Final = {
    Number.REVIEWS: ngettext_lazy("photograph waits for an expert", "photographs wait for an expert"),
    Number.VERSIONS_SMOKE_TESTED: ngettext_lazy(
        "version waits for a second person's approval", "versions wait for a second person's approval"
    ),
    Number.VERSIONS_VERIFIED: ngettext_lazy("version waits for its smoke test", "versions wait for their smoke test"),
    Number.VERSIONS_FAILED: ngettext_lazy("version failed its smoke test", "versions failed their smoke test"),
    Number.GUARDRAILS: ngettext_lazy("guardrail fired and nobody took note", "guardrails fired and nobody took note"),
    Number.PROPOSALS: ngettext_lazy("model should learn anew", "models should learn anew"),
    Number.PLANS: ngettext_lazy(
        "version learnt from people who were erased since", "versions learnt from people who were erased since"
    ),
    Number.DRIFT: ngettext_lazy("drift alert is open", "drift alerts are open"),
    Number.RETENTION: ngettext_lazy("rule of retention is overdue", "rules of retention are overdue"),
    Number.REQUESTS: ngettext_lazy(
        "privacy request is due within {days} days", "privacy requests are due within {days} days"
    ),
}
_VERSIONS: Final[Mapping[State, tuple[Number, str]]] = {
    State.SMOKE_TESTED: (Number.VERSIONS_SMOKE_TESTED, "approval"),
    State.VERIFIED: (Number.VERSIONS_VERIFIED, "science"),
    State.FAILED: (Number.VERSIONS_FAILED, "error"),
}
_AUDIT: Final = "audit"
_LATE_PLANS: Final = "late_plans"


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
class Waiting:
    """One thing that waits for a person."""

    what: Thing
    id: int
    text: str
    why: str
    since: datetime
    url: str


def fill(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the context of the home page what this person may see. At most twelve small queries."""
    person = actor_of(request)
    may = person.has_perm
    served = served_models() if may("rollout.view_route") else []
    sees_predictions = may("predictions.view_prediction")
    drawn = traffic() if sees_predictions else None
    cards, audit_entries = cards_for(person)
    calls = drawn.calls_by_version if drawn else {}
    return {
        **context,
        "title": _("What needs a person"),
        "cards": cards,
        "waiting": waiting_for(person),
        "services": [
            (_SERVICES[state.service], *_HEALTH[state.health], state.heard_at, state.problem)
            for state in service_states()
        ],
        "traffic": drawn,
        "disclaimers": DISCLAIMERS,
        "served": [
            (
                model,
                model.production,
                model.canary,
                rollback_of(model),
                sum(calls.get(route.version.version, 0) for route in model.routes),
            )
            for model in served
        ],
        "may_roll_back": may("rollout.change_route"),
        "last_prediction": newest_first().first() if sees_predictions else None,
        "audit_entries": audit_entries,
        "sees_routes": may("rollout.view_route"),
    }


def cards_for(person: User) -> tuple[Sequence[Card], int | None]:
    """Also how many entries the audit trail has, which the same query reads; None: not for this person."""
    may = person.has_perm
    cards: list[Card] = []
    asked: dict[str, QuerySet[Any]] = {}
    if may("review.view_reviewitem"):
        asked[Number.REVIEWS] = open_items()
    if may("datasets.view_dataset"):
        asked[Number.PROPOSALS] = Proposal.objects.all()
        asked[Number.PLANS] = Plan.objects.all()
        asked[_LATE_PLANS] = Plan.objects.filter(due_at__lt=now())
    if may("drift.view_finding"):
        asked[Number.DRIFT] = alerts()
    if may("privacy.view_privacyrequest"):
        asked[Number.REQUESTS] = due_within(SOON_DAYS, now())
        asked[Number.RETENTION] = overdue(now())
    if may("rollout.view_route"):
        asked[Number.GUARDRAILS] = unseen()
    if may("registry.view_modelversion"):
        asked |= {what: waiting_in(state) for state, (what, _icon) in _VERSIONS.items()}
    sees_audit = may("audit.view_entry")
    number_of = _counted(asked, with_audit=sees_audit)

    def add(what: Number, url: str, icon: str, *, late: int = 0, is_late: bool = False) -> None:
        text = str(_TEXTS[what] % number_of[what]).format(days=SOON_DAYS)
        if late:
            text = ngettext("{text}; {late} of them is overdue", "{text}; {late} of them are overdue", late).format(
                text=text, late=late
            )
        cards.append(Card(what, number_of[what], text, url, icon, is_late or bool(late)))

    if Number.REVIEWS in asked:
        add(Number.REVIEWS, reverse("admin:review_reviewitem_changelist"), "rate_review")
    if may("registry.view_modelversion"):
        url = reverse("admin:registry_modelversion_changelist")
        for state, (what, icon) in _VERSIONS.items():
            add(what, f"{url}?state__exact={state}", icon)
    if number_of.get(Number.GUARDRAILS):
        add(Number.GUARDRAILS, reverse("admin:rollout_route_changelist"), "gpp_maybe")
    if number_of.get(Number.PROPOSALS):
        add(Number.PROPOSALS, reverse("admin:datasets_dataset_changelist"), "model_training")
    if number_of.get(Number.PLANS):
        url = reverse("admin:retraining_trainingjob_changelist")
        add(Number.PLANS, url, "person_remove", late=number_of[_LATE_PLANS])
    if Number.DRIFT in asked:
        add(Number.DRIFT, f"{reverse('admin:drift_finding_changelist')}?outcome__exact=drift", "monitoring")
    if number_of.get(Number.RETENTION):
        add(Number.RETENTION, reverse("admin:retention_applied_changelist"), "auto_delete", is_late=True)
    if Number.REQUESTS in asked:
        add(Number.REQUESTS, reverse("admin:privacy_privacyrequest_changelist"), "shield_person")
    return cards, number_of[_AUDIT] if sees_audit else None


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


def waiting_for(person: User) -> Sequence[Waiting]:
    """What waits for this person's role: guardrails, privacy requests, drift, the oldest versions, photographs."""
    found: list[Waiting] = []
    if person.has_perm("rollout.view_route"):
        for firing in unseen_firings(WAITING_MAX):
            url = reverse("admin:rollout_route_change", args=[firing.route_id])
            text = f"{firing.route.version}: {Rule(firing.rule).label}"
            why = f"{firing_sentence(firing)} {firing_outcome(firing)}"
            found.append(Waiting(Thing.GUARDRAIL, firing.pk, text, why, firing.fired_at, url))
    requests, drifted = urgent(person, WAITING_MAX)
    found += [Waiting(Thing.REQUEST, each.key, each.text(), each.why(), each.since, each.url()) for each in requests]
    items = longest_waiting(WAITING_MAX) if person.has_perm("review.decide_reviewitem") else []
    names = class_names() if items or any(each.needs_class_names for each in drifted) else {}
    found += [Waiting(Thing.DRIFT, each.key, each.text(names), each.why(), each.since, each.url()) for each in drifted]
    if person.has_perm("registry.approve_modelversion"):
        for version in waiting_for_approval(WAITING_MAX):
            if version.uploaded_by_id != person.pk:
                url = reverse("admin:registry_modelversion_change", args=[version.pk])
                since = version.smoke_tested_at or version.uploaded_at
                text = f"{version.model} {version.version}"
                found.append(Waiting(Thing.VERSION, version.pk, text, _("approval"), since, url))
    for item in items:
        top = item.prediction.top_class
        url = reverse("admin:review_reviewitem_change", args=[item.pk])
        if withholds(item):
            found.append(Waiting(Thing.REVIEW, item.pk, _("You answer first"), "", item.created_at, url))
            continue
        why = str(Why(item.why).label)
        found.append(Waiting(Thing.REVIEW, item.pk, names.get(top, top), why, item.created_at, url))
    return found
