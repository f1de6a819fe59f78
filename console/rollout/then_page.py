"""What the page of the time machine shows: who is asked about, and what answered then."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format, number_format
from django.utils.timezone import get_current_timezone, is_naive, localtime, now
from django.utils.translation import gettext as _

from console.card_words import detector_text
from console.clients.queries import few_clients, names_with
from console.errors import Refusal
from console.instants import gregorian, in_utc
from console.moments import MomentField
from console.rollout.models import Mode
from console.rollout.queries import served_models
from console.rollout.time_machine import Part, Then, look

CHOICES_MAX: Final = 100  # clients in one list; of more, one is named
LIKE_MAX: Final = 20  # that are offered where a part of a name was typed


def then_context(*, client: str, at: str, model: str) -> dict[str, Any]:
    """The context of `rollout/then.html`, from what the address says. At most ten queries, whatever there is."""
    client = client.strip()
    context: dict[str, Any] = {
        "clients": few_clients(most=CHOICES_MAX),  # None: too many to choose from
        "models": [served.model for served in served_models()],
        "client": client,
        "at": at or date_format(localtime(now()), "DATETIME_FORMAT"),
        "model": model,
        "problem": "",
        "wrong": "",  # the field that the problem is about
        "like": [],
        "more_like": False,
        "found": None,
    }
    if not client:
        return context
    moment = _typed(at)
    if moment is None:
        text = _("Write the day and the time as 2026-12-31 09:30, or as it stands on a page.")
        return context | {"problem": text, "wrong": "at"}
    try:
        found = look(client=client, at=moment, model=model)
    except Refusal as refusal:
        like = names_with(client, most=LIKE_MAX + 1) if refusal.field == "client" else []
        offered = {"like": like[:LIKE_MAX], "more_like": len(like) > LIKE_MAX}
        return context | offered | {"problem": refusal.message, "wrong": refusal.field}
    return context | {"found": found, "parts": [_part(part) for part in found.parts], "permission": _permission(found)}


def _typed(text: str) -> datetime | None:
    """What somebody typed or took from a page, in either era, or what an address says."""
    found = instant(gregorian(text))
    if found is not None:
        return found
    try:
        typed = MomentField().clean([text, ""])
        return None if typed is None else in_utc(typed)
    except (ValidationError, ValueError):
        return None


def instant(text: str) -> datetime | None:
    """A day and a time; without an offset it is the console's own."""
    try:
        moment = parse_datetime(text)
        if moment is None:
            return None
        return in_utc(moment.replace(tzinfo=get_current_timezone()) if is_naive(moment) else moment)
    except ValueError:
        return None


def _part(part: Part) -> dict[str, Any]:
    limits = part.limits
    return {
        "part": part,
        "mode": str(Mode(part.mode).label),
        "share": "" if part.mode is Mode.SHADOW else f"{part.share_ratio:.1%}",
        "thresholds": [
            (_("Temperature"), number_format(part.temperature, 3)),
            (_("Least confidence"), number_format(limits.confidence_min, 3)),
            (_("Least lead over the second"), number_format(limits.margin_min, 3)),
            *(
                (
                    detector_text(item.name),
                    _("unsure from {unsure}, out from {out}").format(
                        unsure=f"{item.unsure_at:.3g}", out=f"{item.out_at:.3g}"
                    ),
                )
                for item in limits.detectors
            ),
        ],
    }


def _permission(found: Then) -> str:
    if found.permitted is None:
        return _("The audit trail no longer says which models this client might ask.")
    return _("The client might ask this model.") if found.permitted else _("The client might not ask this model.")
