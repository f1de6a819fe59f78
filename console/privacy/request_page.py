"""What the page of one privacy request shows, and the words that the list of requests shares with it."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from django.utils.timezone import now
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from console.audit.names import type_name
from console.audit.queries import entries_about
from console.errors import NotAvailable, NotFound
from console.privacy import clocks
from console.privacy.certificate import certificate_of
from console.privacy.clocks import Escalation, Law
from console.privacy.models import RESTRICTS, Erasure, Kind, Laws, PrivacyRequest, State, Step
from console.privacy.stores import STORES
from console.privacy.typed import ERASED

COLOURS: Final = {
    State.RECEIVED: "info",
    State.IDENTITY_CHECKED: "info",
    State.IN_PROGRESS: "warning",
    State.PAUSED: "danger",
    State.DONE: "success",
    State.REFUSED: "primary",
}
URGENCY: Final = {
    Escalation.NONE: "success",
    Escalation.SOON: "warning",
    Escalation.URGENT: "danger",
    Escalation.OVERDUE: "danger",
}


def legal_date(day: date) -> str:
    """The day in the reader's language; in Thai with the year of the Buddhist era."""
    return clocks.date_text(day, get_language() or "en")


def left_text(days_left: int) -> str:
    if days_left < 0:
        return ngettext("{days} day too late", "{days} days too late", -days_left).format(days=-days_left)
    if days_left == 0:
        return _("today")
    return ngettext("{days} day", "{days} days", days_left).format(days=days_left)


def kept_text(days_left: int) -> str:
    """Of a closed one: whether the answer came in time."""
    return left_text(days_left) if days_left < 0 else _("in time")


def due_text(row: PrivacyRequest, law: Law) -> str:
    return legal_date(row.limits().by_law[law])


def shown(row: PrivacyRequest) -> dict[str, Any]:
    """What the page of one request shows. At most five queries."""
    limits, day_counted = row.limits(), row.counts_to(clocks.day_of(now()))
    said = left_text if row.is_open else kept_text
    erasure: Erasure | None = getattr(row, "erasure", None)
    done = erasure is not None and erasure.step == Step.DONE
    try:
        certified = done and bool(certificate_of(row.pk))
    except (NotAvailable, NotFound):
        certified = False
    return {
        "row": row,
        "kind": Kind(row.kind).label,
        "state": State(row.state).label,
        "reason": _("(erased)") if row.reason == ERASED else row.reason,
        "state_colour": COLOURS[State(row.state)],
        "laws": Laws(row.laws).label,
        "received": legal_date(clocks.day_of(row.received_at)),
        "clocks": [
            (law.name, legal_date(day), said((day - day_counted).days), day == limits.binding)
            for law, day in limits.by_law.items()
        ],
        "restricted": row.kind in RESTRICTS and row.subject is not None and row.subject.restricted_at is not None,
        "urgency": clocks.escalation(limits.days_left(day_counted)).value if row.is_open else "",
        "erasure": erasure,
        "step": Step(erasure.step).label if erasure else "",
        "stores": _stores(erasure) if erasure else [],
        "done": done,
        "certified": certified,
        "duplicates": list(row.duplicates.order_by("pk").values_list("pk", flat=True)),
        "entries": [
            (entry.recorded_at, type_name(entry.type), entry.sequence, entry.pk)
            for entry in entries_about("privacy_request", str(row.pk))
        ],
    }


def _stores(erasure: Erasure) -> list[tuple[str, int | str, str]]:
    """Store, how much was there, how much the second search found ("" before it); "–" where nothing was searched.

    Before anything was counted nothing is said: a 0 would tell that there is nothing to erase.
    """
    counted, searched = erasure.step > Step.SHUT, erasure.searched_at is not None
    certified = (erasure.statement or {}).get("stores", {})
    return [
        (str(store.text), "–", "–")
        if certified.get(store.name, {"after": 0})["after"] is None
        else (
            str(store.text),
            erasure.before.get(store.name, 0) if counted else "–",
            str(erasure.remaining.get(store.name, 0)) if searched else "",
        )
        for store in STORES
    ]
