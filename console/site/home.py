"""The home page: what needs a person now, what answers, whether everything runs, and how it went lately.

Its cost is constant: numbers come from partial indexes and tallies, lists are cut, and what other
processes have to say they have said to the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import CharField, Count, QuerySet, Value
from django.http import HttpRequest
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.audit.queries import last_sequence
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
from console.review.models import Why
from console.review.queries import longest_waiting, open_items, withholds
from console.rollout.models import Rule
from console.rollout.queries import rollback_target, served_models, unseen, unseen_firings
from console.rollout.route_page import firing_outcome, firing_sentence
from console.site.traffic import traffic

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
}

_VERSIONS: Final[Mapping[State, tuple[object, str]]] = {
    State.SMOKE_TESTED: (gettext_lazy("versions wait for a second person's approval"), "approval"),
    State.VERIFIED: (gettext_lazy("versions wait for their smoke test"), "science"),
    State.FAILED: (gettext_lazy("versions failed their smoke test"), "error"),
}


@dataclass(frozen=True, slots=True)
class Card:
    """A number with what it counts, and where to see to it."""

    number: int
    text: str
    url: str
    icon: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that waits for a person."""

    text: str
    why: str
    since: datetime
    url: str


def fill(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the context of the home page what this person may see. At most twelve small queries."""
    may = request.user.has_perm
    served = served_models() if may("rollout.view_route") else []
    sees_predictions = may("predictions.view_prediction")
    drawn = traffic() if sees_predictions else None
    calls = drawn.calls_by_version if drawn else {}
    return {
        **context,
        "title": _("What needs a person"),
        "cards": _cards(request),
        "waiting": _waiting(request),
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
                rollback_target(model),
                sum(calls.get(route.version.version, 0) for route in model.routes),
            )
            for model in served
        ],
        "last_prediction": newest_first().first() if sees_predictions else None,
        "audit_entries": last_sequence() if may("audit.view_entry") else None,
        "sees_routes": may("rollout.view_route"),
    }


def _cards(request: HttpRequest) -> Sequence[Card]:
    may = request.user.has_perm
    cards: list[Card] = []
    asked: dict[str, QuerySet[Any]] = {}
    if may("review.view_reviewitem"):
        asked["reviews"] = open_items()
    if may("datasets.view_dataset"):
        asked["proposals"] = Proposal.objects.all()
    if may("drift.view_finding"):
        asked["alerts"] = alerts()
    if may("privacy.view_privacyrequest"):
        asked["requests"] = due_within(SOON_DAYS, now())
    if may("rollout.view_route"):
        asked["firings"] = unseen()
    if may("registry.view_modelversion"):
        asked |= {state.value: waiting_in(state) for state in _VERSIONS}
    number_of = _counted(asked)
    if "reviews" in asked:
        url = reverse("admin:review_reviewitem_changelist")
        cards.append(Card(number_of["reviews"], _("photographs wait for an expert"), url, "rate_review"))
    if may("registry.view_modelversion"):
        url = reverse("admin:registry_modelversion_changelist")
        for state, (text, icon) in _VERSIONS.items():
            cards.append(Card(number_of[state.value], str(text), f"{url}?state__exact={state}", icon))
    if number_of.get("firings"):
        url = reverse("admin:rollout_route_changelist")
        cards.append(Card(number_of["firings"], _("guardrails fired and nobody took note"), url, "gpp_maybe"))
    if number_of.get("proposals"):
        url = reverse("admin:datasets_dataset_changelist")
        cards.append(Card(number_of["proposals"], _("models should learn anew"), url, "model_training"))
    if "alerts" in asked:
        url = f"{reverse('admin:drift_finding_changelist')}?outcome__exact=drift"
        cards.append(Card(number_of["alerts"], _("drift alerts are open"), url, "monitoring"))
    if "requests" in asked:
        url = reverse("admin:privacy_privacyrequest_changelist")
        text = _("privacy requests are due within {days} days").format(days=SOON_DAYS)
        cards.append(Card(number_of["requests"], text, url, "shield_person"))
    return cards


def _counted(asked: Mapping[str, QuerySet[Any]]) -> Mapping[str, int]:
    """How many rows each has; one query for all."""
    found = dict.fromkeys(asked, 0)
    counts = [
        rows.order_by().values(name=Value(name, CharField())).annotate(number=Count("pk")).values_list("name", "number")
        for name, rows in asked.items()
    ]
    if counts:
        found |= dict(counts[0].union(*counts[1:], all=True))
    return found


def _waiting(request: HttpRequest) -> Sequence[Waiting]:
    """What waits for this person's role: guardrails that fired, then the oldest versions, then photographs."""
    found: list[Waiting] = []
    if request.user.has_perm("rollout.view_route"):
        for firing in unseen_firings(WAITING_MAX):
            url = reverse("admin:rollout_route_change", args=[firing.route_id])
            text = f"{firing.route.version}: {Rule(firing.rule).label}"
            why = f"{firing_sentence(firing)} {firing_outcome(firing)}"
            found.append(Waiting(text, why, firing.fired_at, url))
    if request.user.has_perm("registry.approve_modelversion"):
        for version in waiting_for_approval(WAITING_MAX):
            if version.uploaded_by_id != request.user.pk:
                url = reverse("admin:registry_modelversion_change", args=[version.pk])
                since = version.smoke_tested_at or version.uploaded_at
                found.append(Waiting(f"{version.model} {version.version}", _("approval"), since, url))
    if request.user.has_perm("review.decide_reviewitem"):
        names = class_names()
        for item in longest_waiting(WAITING_MAX):
            top = item.prediction.top_class
            url = reverse("admin:review_reviewitem_change", args=[item.pk])
            if withholds(item):
                found.append(Waiting(_("You answer first"), "", item.created_at, url))
                continue
            found.append(Waiting(names.get(top, top), str(Why(item.why).label), item.created_at, url))
    return found
