"""The home page: what needs a person now, and what answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.queries import last_sequence
from console.drift.queries import alert_count
from console.predictions.queries import newest_first
from console.privacy.clocks import SOON_DAYS
from console.privacy.queries import due_within
from console.registry.models import State
from console.registry.queries import count_by_state
from console.review.queries import open_count
from console.rollout.queries import rollback_target, served_models


@dataclass(frozen=True, slots=True)
class Card:
    """A number with what it counts, and where to see to it."""

    number: int
    text: str
    url: str
    icon: str


def fill(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the context of the home page what this person may see. At most six small queries."""
    may = request.user.has_perm
    served = served_models() if may("rollout.view_route") else []
    return {
        **context,
        "title": _("What needs a person"),
        "cards": _cards(request),
        "served": [(model, model.production, model.canary, rollback_target(model)) for model in served],
        "last_prediction": newest_first().first() if may("predictions.view_prediction") else None,
        "audit_entries": last_sequence() if may("audit.view_entry") else None,
        "sees_routes": may("rollout.view_route"),
    }


def _cards(request: HttpRequest) -> Sequence[Card]:
    may = request.user.has_perm
    cards: list[Card] = []
    if may("review.view_reviewitem"):
        url = reverse("admin:review_reviewitem_changelist")
        cards.append(Card(open_count(), _("photographs wait for an expert"), url, "rate_review"))
    if may("registry.view_modelversion"):
        counts = count_by_state()
        url = reverse("admin:registry_modelversion_changelist")
        for state, text, icon in (
            (State.SMOKE_TESTED, _("versions wait for a second person's approval"), "approval"),
            (State.VERIFIED, _("versions wait for their smoke test"), "science"),
            (State.FAILED, _("versions failed their smoke test"), "error"),
        ):
            cards.append(Card(counts[state], text, f"{url}?state__exact={state}", icon))
    if may("drift.view_finding"):
        url = f"{reverse('admin:drift_finding_changelist')}?outcome__exact=drift"
        cards.append(Card(alert_count(), _("drift alerts are open"), url, "monitoring"))
    if may("privacy.view_privacyrequest"):
        url = reverse("admin:privacy_privacyrequest_changelist")
        number = due_within(SOON_DAYS, now())
        text = _("privacy requests are due within {days} days").format(days=SOON_DAYS)
        cards.append(Card(number, text, url, "shield_person"))
    return cards
