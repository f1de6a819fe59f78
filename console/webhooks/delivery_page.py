"""What the page of one message to one address says: whether it arrived, what came of the last try, and what it is."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.names import type_name
from console.row_page import Fact
from console.webhooks.endpoint_page import STATE_COLOURS, outcome, tries_text
from console.webhooks.models import Delivery, State
from console.webhooks.services import is_tried


def delivery_context(delivery: Delivery, *, may_see_entries: bool, may_change: bool) -> dict[str, Any]:
    """The context of `webhooks/delivery.html`. The endpoint is read with it; no query of its own."""
    next_try_at = next_try_of(delivery)
    waits_in_vain = delivery.state == State.WAITING and not delivery.endpoint.active
    return {
        "state_text": State(delivery.state).label,
        "state_colour": STATE_COLOURS[delivery.state],
        "said": outcome(delivery),
        "more": _("The webhook is switched off: it is tried once that is switched on again.") if waits_in_vain else "",
        "facts": [
            Fact(
                _("Webhook"),
                delivery.endpoint.url,
                reverse("admin:webhooks_endpoint_change", args=[delivery.endpoint_id]),
            ),
            Fact(
                _("Event"),
                type_name(delivery.type),
                reverse("admin:audit_entry_change", args=[delivery.sequence]) if may_see_entries else "",
                _("Entry {number} of the audit trail").format(number=delivery.sequence),
            ),
            Fact(_("Queued"), delivery.created_at),
            Fact(_("Tries"), tries_text(delivery)),
            *([Fact(_("Last try"), delivery.tried_at)] if delivery.tried_at else []),
            *([Fact(_("Next try"), next_try_at)] if next_try_at else []),
            *([Fact(_("Settled"), delivery.settled_at)] if delivery.settled_at else []),
            Fact(_("Number of the message"), delivery.message_id, note=_("The same at every try.")),
        ],
        "message": json.dumps(json.loads(delivery.body), indent=2, ensure_ascii=False),
        "endpoint_url": reverse("admin:webhooks_endpoint_change", args=[delivery.endpoint_id]),
        "again_url": reverse("admin:webhooks_delivery_deliver_again", args=[delivery.pk])
        if may_change and delivery.state != State.WAITING and delivery.endpoint.active
        else "",
        "now_url": reverse("admin:webhooks_delivery_try_now", args=[delivery.pk])
        if may_change and _rests(delivery)
        else "",
    }


def _rests(delivery: Delivery) -> bool:
    """Whether it waits for a time that is not yet, and nobody tries it."""
    next_try_at, at = next_try_of(delivery), now()
    return next_try_at is not None and next_try_at > at and not is_tried(delivery, at)


def next_try_of(delivery: Delivery) -> datetime | None:
    """None for what is settled, and while its webhook is off."""
    return delivery.next_try_at if delivery.state == State.WAITING and delivery.endpoint.active else None
