"""What the list of webhooks and the page of one say, as plain values: whether messages arrive, and what it hears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.audit.names import type_name
from console.row_page import Fact
from console.webhooks import queries, sentences, services
from console.webhooks.events import EVENTS
from console.webhooks.models import Delivery, Endpoint, State
from console.webhooks.queries import Health, Standing

HEALTH_COLOURS: Final[Mapping[str, str]] = {"off": "warning", "new": "info", "arrives": "success", "fails": "danger"}
STATE_COLOURS: Final[Mapping[str, str]] = {
    State.DELIVERED: "success",
    State.WAITING: "warning",
    State.GIVEN_UP: "danger",
}
NEWEST: Final = 10
_NAMED_MAX: Final = 3  # events of a row of the list; its page has them all


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One line of an address's newest messages."""

    at: datetime
    event: str
    url: str
    state: str
    colour: str
    tries: str
    said: str  # what came of the last try
    tried_at: datetime | None
    next_try_at: datetime | None


def endpoint_context(endpoint: Endpoint) -> dict[str, Any]:
    """The context of `webhooks/endpoint.html`. At most four queries, whatever the history."""
    standing = queries.standings([endpoint])[endpoint.pk]
    counts = queries.counts_of(endpoint)
    return {
        "endpoint": endpoint,
        "state_text": health_text(standing.health),
        "state_colour": HEALTH_COLOURS[standing.health.value],
        "said": said_of(standing),
        "standing_facts": [
            *([Fact(_("Next try"), at)] if (at := next_try_of(endpoint, standing)) else []),
            Fact(_("Wait to be delivered"), standing.waiting, note=_waits_for(endpoint, standing)),
            Fact(_("Delivered in 30 days"), counts.get(State.DELIVERED, 0)),
            Fact(_("Given up in 30 days"), counts.get(State.GIVEN_UP, 0)),
        ],
        "facts": [
            Fact(_("Address"), endpoint.url),
            Fact(_("Messages are"), *_form(endpoint)),
            Fact(_("Made"), endpoint.created_at, note=_("by {name}").format(name=endpoint.created_by)),
        ],
        "events": [type_name(name) for name in endpoint.events],
        "hears_all": len(endpoint.events) == len(EVENTS),
        "deliveries": [_row(endpoint, delivery) for delivery in queries.newest_of(endpoint, NEWEST)],
    }


def health_text(health: Health) -> str:
    return {
        Health.OFF: _("off"),
        Health.NEW: _("nothing sent yet"),
        Health.ARRIVES: _("arrives"),
        Health.FAILS: _("does not arrive"),
    }[health]


def said_of(standing: Standing) -> str:
    """Whether messages arrive, and if not, why."""
    last = standing.last
    if standing.health is Health.OFF:
        return _("It is switched off: what happens now is not told to it, and not later either.")
    if last is None:
        return _("Nothing was sent there yet. A message leaves within seconds of what it tells of.")
    return outcome(last)


def outcome(delivery: Delivery) -> str:
    """What became of one message so far, in sentences."""
    tries = ngettext("{count} try", "{count} tries", delivery.tries).format(count=delivery.tries)
    if delivery.state == State.DELIVERED:
        first = delivery.tries <= 1
        text = _("It arrived at the first try.") if first else _("It arrived after {tries}.").format(tries=tries)
    elif delivery.state == State.GIVEN_UP:
        text = _("It did not arrive and is given up, after {tries}.").format(tries=tries)
    elif not delivery.answer:
        text = _("It leaves within seconds.")
    else:
        text = _("It has not arrived after {tries}.").format(tries=tries)
    return f"{text} {sentences.explained(delivery.answer)}".rstrip()


def hears(endpoint: Endpoint) -> str:
    """Which events, in few words."""
    if len(endpoint.events) == len(EVENTS):
        return _("all events")
    names = ", ".join(type_name(name) for name in endpoint.events[:_NAMED_MAX])
    more = len(endpoint.events) - _NAMED_MAX
    if more <= 0:
        return names
    return ngettext("{names} and {count} more", "{names} and {count} more", more).format(names=names, count=more)


def next_try_of(endpoint: Endpoint, standing: Standing) -> datetime | None:
    """When something is tried there next; None where nothing waits, or nothing is tried."""
    return standing.next_try_at if endpoint.active else None


def tries_text(delivery: Delivery) -> str:
    """So many of how many; of what arrived no more are to come."""
    if delivery.state == State.DELIVERED:
        return ngettext("{count} try", "{count} tries", delivery.tries).format(count=delivery.tries)
    return _("{count} of {most}").format(count=delivery.tries, most=services.tries_max(delivery))


def _waits_for(endpoint: Endpoint, standing: Standing) -> str:
    if standing.waiting and not endpoint.active:
        return _("They are tried once it is switched on again.")
    return ""


def _form(endpoint: Endpoint) -> tuple[str, str, str]:
    """What leaves: the value, no address, and the note of a fact."""
    if endpoint.url.startswith("mailto:"):
        return _("letters in Thai and English"), "", ""
    return _("signed as Standard Webhooks says"), "", _("The secret was shown once, when it was made.")


def _row(endpoint: Endpoint, delivery: Delivery) -> DeliveryRow:
    waits = delivery.state == State.WAITING and endpoint.active
    return DeliveryRow(
        at=delivery.created_at,
        event=type_name(delivery.type),
        url=reverse("admin:webhooks_delivery_change", args=[delivery.pk]),
        state=str(State(delivery.state).label),
        colour=STATE_COLOURS[delivery.state],
        tries=tries_text(delivery),
        said=sentences.explained(delivery.answer),
        tried_at=delivery.tried_at,
        next_try_at=delivery.next_try_at if waits else None,
    )


def deliveries_url(endpoint: Endpoint) -> str:
    """All its messages."""
    return f"{reverse('admin:webhooks_delivery_changelist')}?endpoint__id__exact={endpoint.pk}"


def buttons(endpoint: Endpoint, *, may_change: bool) -> Sequence[tuple[str, str, str]]:
    """What may be done with it: text, address, variant."""

    def to(name: str) -> str:
        return reverse(f"admin:webhooks_endpoint_{name}", args=[endpoint.pk])

    found = [(_("All its deliveries"), deliveries_url(endpoint), "primary")]
    if may_change:
        if endpoint.active:
            found.append((_("Send a test"), to("send_test"), "default"))
        found.append((_("Change events"), to("change_events"), "default"))
        found.append((_("Switch off") if endpoint.active else _("Switch on"), to("switch"), "default"))
        if not endpoint.url.startswith("mailto:"):
            found.append((_("New secret"), to("renew_secret"), "default"))
        found.append((_("Remove"), to("remove"), "danger"))
    return [*found, (_("To the list"), reverse("admin:webhooks_endpoint_changelist"), "default")]
