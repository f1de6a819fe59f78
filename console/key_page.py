"""The page of what lets a program in, an API key or a token for scripts: whose, what for, until when, how it ends.

Its text is in no database, so no page can show it; what is shown is what it is known by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from unfold.admin import ModelAdmin

from console.audit.models import Entry
from console.audit.names import type_name
from console.audit.queries import staff_names
from console.pages import page

STANDING_COLOURS: Final = {"in force": "success", "revoked": "danger", "expired": "warning", "stopped": "warning"}


@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    value: str | int | datetime
    url: str = ""
    note: str = ""  # said quietly below it


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the audit trail about it."""

    at: datetime
    what: str
    who: str
    url: str  # "": whoever looks may not open the trail


def standing(*, revoked_at: datetime | None, expires_at: datetime | None) -> tuple[str, str]:
    """Whether it lets anybody in now: a code of STANDING_COLOURS, and what people read."""
    if revoked_at is not None:
        return "revoked", _("revoked")
    if expires_at is not None and expires_at <= now():
        return "expired", _("expired")
    return "in force", _("in force")


def times(
    *, created_at: datetime, created_by: str, expires_at: datetime | None, revoked_at: datetime | None
) -> list[Fact]:
    """created_by: a sentence; "" where nothing more is to be said."""
    return [
        Fact(_("Made"), created_at, note=created_by),
        Fact(_("Lets in until"), expires_at or _("without end")),
        *([Fact(_("Revoked"), revoked_at)] if revoked_at else []),
    ]


def key_page(
    request: HttpRequest,
    admin: ModelAdmin,
    *,
    title: str,
    state: tuple[str, str],
    said: str,
    facts: Sequence[Fact],
    entries: QuerySet[Entry],
    revoke: str,
    back: str,
) -> HttpResponse:
    """The page of one key.

    said: what its state means for the programs that show it.  entries: of the audit trail, oldest first.
    revoke: where it is revoked; "" where that is over, or somebody else's to do.
    """
    code, text = state
    return page(
        request,
        admin,
        "console/key.html",
        title=title,
        state_text=text,
        state_colour=STANDING_COLOURS[code],
        said=said,
        facts=facts,
        acts=_acts(request, entries),
        revoke=revoke,
        back=back,
    )


def _acts(request: HttpRequest, entries: QuerySet[Entry]) -> list[Act]:
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
