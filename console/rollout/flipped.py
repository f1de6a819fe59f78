"""Photographs of which a shadow says something else, as one person may see them: the same for pages and for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse
from django.utils.translation import gettext as _

from console.predictions.page import PAGES
from console.predictions.queries import withheld_from
from console.rollout.comparison import Flipped
from console.staff.models import User
from console.vault import queries as vault


@dataclass(frozen=True, slots=True)
class Seen:
    """One of them. photograph: the address of its first view, "" where this person may not see one, and why not."""

    answer: Flipped
    photograph: str
    why_not: str


def seen_by(person: User, found: Sequence[Flipped], *, routes: str = PAGES) -> list[Seen]:
    """With photographs where the subject's consent keeps them and this person may open them. At most two queries.

    Without those of which this person is asked before the model is heard.
    routes: what the name of the route to a photograph begins with.
    """
    owners = [str(item.prediction_id) for item in found]
    kept, withheld = vault.kept_of(owners), withheld_from(person, owners)
    may = person.has_perm("vault.open_storedobject")
    return [
        _seen(item, kept.get(owner, vault.Kept()), may=may, routes=routes)
        for owner, item in zip(owners, found, strict=True)
        if owner not in withheld
    ]


def _seen(item: Flipped, kept: vault.Kept, *, may: bool, routes: str) -> Seen:
    if 0 not in kept.photographs:
        return Seen(item, "", _("The consent has run out.") if 0 in kept.run_out else _("Not kept."))
    if not may:
        return Seen(item, "", _("Your roles do not let you see photographs."))
    return Seen(item, reverse(f"{routes}_photograph", args=[item.prediction_id, 0]), "")
