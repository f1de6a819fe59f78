"""The home page: what needs a person now, what answers, whether everything runs, and how it went lately.

Its cost is constant: numbers come from partial indexes and tallies, lists are cut, and what other
processes have to say they have said to the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils.timesince import timesince
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.predictions.names import class_names
from console.predictions.page import DISCLAIMERS
from console.predictions.queries import newest_first
from console.pulse.models import Service
from console.pulse.queries import Health, ServiceState, service_states
from console.registry.queries import waiting_for_approval
from console.review.models import State, Why
from console.review.queries import longest_waiting, withholds
from console.rollout.models import Rule
from console.rollout.queries import rollback_of, served_models, unseen_firings
from console.rollout.route_page import firing_outcome, firing_sentence
from console.site.cards import cards_for
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


class Thing(StrEnum):
    """What one thing that waits is."""

    GUARDRAIL = "guardrail"
    REQUEST = "privacy_request"
    DRIFT = "drift_finding"
    VERSION = "version"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that waits for a person."""

    what: Thing
    id: int
    text: str
    why: str
    since: datetime
    url: str

    def waits(self) -> str:
        """For how long, to the minute."""
        return _("just now") if _is_new(self.since) else timesince(self.since)


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
            (_SERVICES[state.service], name, *_HEALTH[state.health], _heard(state.heard_at), state.problem)
            for state, name in _named(service_states())
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


def _named(states: Sequence[ServiceState]) -> Iterator[tuple[ServiceState, str]]:
    """Each with its name, which says something where there are several of its kind."""
    number = Counter(state.service for state in states)
    return ((state, state.name if number[state.service] > 1 else "") for state in states)


def _heard(at: datetime | None) -> str:
    """When something was heard of; "" where it never was."""
    if at is None:
        return ""
    return _("heard of just now") if _is_new(at) else _("heard of {ago} ago").format(ago=timesince(at))


def _is_new(at: datetime) -> bool:
    return now() - at < timedelta(minutes=1)


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
    items = longest_waiting(person, WAITING_MAX) if person.has_perm("review.decide_reviewitem") else []
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
        disputed = str(State.DISPUTED.label) if item.state == State.DISPUTED else ""
        if withholds(item):
            found.append(Waiting(Thing.REVIEW, item.pk, _("You answer first"), disputed, item.created_at, url))
            continue
        why = disputed or str(Why(item.why).label)
        found.append(Waiting(Thing.REVIEW, item.pk, names.get(top, top), why, item.created_at, url))
    return found
