"""What was done with a client between somebody's look at it and their change, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from console.audit.models import Entry
from console.audit.names import type_name
from console.audit.queries import staff_names
from console.clients.models import Client
from console.clients.queries import changes_since
from console.errors import Outdated

TOLD_MAX: Final = 3


def check_unchanged(client: Client, *, seen: int) -> None:
    """Raise Outdated where the client, or a key of it, was changed after this revision; says by whom, when and how.

    Who changes it afterwards holds its row: what is found here stays so until their transaction ends.
    """
    entries = list(changes_since(client, seen))
    if not entries:
        return
    names = staff_names({entry.actor for entry in entries})
    told = [_told(entry, names.get(entry.actor, entry.actor)) for entry in entries[-TOLD_MAX:]]
    if len(entries) > TOLD_MAX:
        told.insert(0, "…")
    raise Outdated(
        _("{client} was changed since you looked. {changes}. Nothing of yours was saved.").format(
            client=client, changes=" · ".join(told)
        )
    )


def _told(entry: Entry, who: str) -> str:
    payload = getattr(entry, "payload", None)
    said = json.loads(payload.text) if payload is not None else {}
    how = list(_differences(said["before"], said["after"])) if "after" in said else []
    return _("{who}, {when}: {what}").format(
        who=who,
        when=date_format(localtime(entry.recorded_at), "DATETIME_FORMAT"),
        what="; ".join(how) or type_name(entry.type),
    )


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if before["calls_per_minute"] != after["calls_per_minute"]:
        yield _("calls a minute {before} → {after}").format(
            before=before["calls_per_minute"], after=after["calls_per_minute"]
        )
    if before["models"] != after["models"]:
        yield _("models {before} → {after}").format(before=_names(before["models"]), after=_names(after["models"]))


def _names(models: Sequence[str]) -> str:
    return ", ".join(models) or _("all")
