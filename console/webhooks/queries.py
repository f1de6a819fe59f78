"""What is asked of webhooks: how each address does, by what came of its newest messages and what still waits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from django.db.models import Count, Min, OuterRef, QuerySet, Subquery

from console.audit import queries as audit
from console.audit.models import Entry
from console.webhooks.models import Delivery, Endpoint, State

_MAKES_A_SECRET: Final = ("webhooks.endpoint_created", "webhooks.secret_renewed")
_CHANGES: Final = (
    "webhooks.endpoint_created",
    "webhooks.events_changed",
    "webhooks.endpoint_enabled",
    "webhooks.endpoint_disabled",
)


class Health(Enum):
    OFF = "off"
    NEW = "new"  # nothing was tried yet
    ARRIVES = "arrives"
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Standing:
    """How one address does.

    last: the newest message of which something came, if only that it did not arrive; None while there is none.
    next_try_at: of what waits the first; None where nothing waits. Nothing is tried while the webhook is off.
    """

    health: Health
    last: Delivery | None
    waiting: int
    next_try_at: datetime | None


def standings(endpoints: Collection[Endpoint]) -> Mapping[int, Standing]:
    """By the endpoint's number. Two queries, however many there are."""
    keys = [endpoint.pk for endpoint in endpoints]
    # An answer is written down when a try ends: without one a message was not tried yet, or is being tried.
    ended = Delivery.objects.filter(endpoint=OuterRef("pk")).exclude(answer="").order_by("-sequence")
    newest = Endpoint.objects.filter(pk__in=keys).annotate(newest=Subquery(ended.values("pk")[:1])).values("newest")
    last = {delivery.endpoint_id: delivery for delivery in Delivery.objects.filter(pk__in=newest)}
    queues = Delivery.objects.filter(state=State.WAITING, endpoint__in=keys).order_by().values("endpoint")
    waiting = {
        queue["endpoint"]: (queue["count"], queue["first"])
        for queue in queues.annotate(count=Count("pk"), first=Min("next_try_at"))
    }
    return {
        endpoint.pk: Standing(
            _health(endpoint, last.get(endpoint.pk)), last.get(endpoint.pk), *waiting.get(endpoint.pk, (0, None))
        )
        for endpoint in endpoints
    }


def secret_made(endpoint: Endpoint) -> Entry | None:
    """The entry of the audit trail about the secret that it has; its number is the secret's revision."""
    return audit.newest_of("webhook", str(endpoint.pk), _MAKES_A_SECRET)


def changed(endpoint: Endpoint) -> Entry | None:
    """The entry of the audit trail about its newest change, other than of its secret."""
    return audit.newest_of("webhook", str(endpoint.pk), _CHANGES)


def revision(endpoint: Endpoint) -> int:
    """A number that each such change raises."""
    entry = changed(endpoint)
    return 0 if entry is None else entry.sequence


def newest_of(endpoint: Endpoint, most: int) -> QuerySet[Delivery]:
    """Its newest messages, so many. Along the index of the constraint."""
    return Delivery.objects.filter(endpoint=endpoint).order_by("-sequence")[:most]


def counts_of(endpoint: Endpoint) -> Mapping[str, int]:
    """How many of its messages are in which `State`, of those that the log keeps. One query."""
    rows = Delivery.objects.filter(endpoint=endpoint).order_by().values("state").annotate(count=Count("pk"))
    return {row["state"]: row["count"] for row in rows}


def _health(endpoint: Endpoint, last: Delivery | None) -> Health:
    if not endpoint.active:
        return Health.OFF
    if last is None:
        return Health.NEW
    return Health.ARRIVES if last.state == State.DELIVERED else Health.FAILS
