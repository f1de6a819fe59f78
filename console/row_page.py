"""What pages of one row share: facts in a table, and the lines of the audit trail about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from console.audit.models import Entry
from console.audit.names import type_name
from console.audit.queries import staff_names


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of `console/facts.html`."""

    name: str
    value: str | int | datetime
    url: str = ""
    note: str = ""  # said quietly below it


@dataclass(frozen=True, slots=True)
class Act:
    """A line of `console/acts.html`: one entry of the audit trail about the row."""

    at: datetime
    what: str
    who: str
    url: str  # "": whoever looks may not open the trail


def acts_of(request: HttpRequest, entries: QuerySet[Entry]) -> Sequence[Act]:
    """entries: of the audit trail, in the order in which they are shown. Two queries."""
    names = staff_names({entry.actor for entry in entries})
    may_open = request.user.has_perm("audit.view_entry")
    return [
        Act(
            at=entry.recorded_at,
            what=type_name(entry.type),
            who=names.get(entry.actor, entry.actor),
            url=reverse("admin:audit_entry_change", args=[entry.pk]) if may_open else "",
        )
        for entry in entries
    ]
