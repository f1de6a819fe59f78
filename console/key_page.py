"""The page of what lets a program in, an API key or a token for scripts: whose, what for, until when, how it ends.

Its text is in no database, so no page can show it; what is shown is what it is known by.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from unfold.admin import ModelAdmin

from console.audit.models import Entry
from console.pages import page
from console.row_page import Fact, acts_of

STANDING_COLOURS: Final = {"in force": "success", "revoked": "danger", "expired": "warning", "stopped": "warning"}


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
        acts=acts_of(request, entries),
        revoke=revoke,
        back=back,
    )
