"""What a row of the inventory of personal data says: what a field holds, of whom, and what is done with its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Whose(models.TextChoices):
    PERSON = "person", _("data subject")
    STAFF = "staff", _("member of staff")


@dataclass(frozen=True, slots=True)
class Holds:
    """What a field says of somebody."""

    whose: Whose
    what: Promise


@dataclass(frozen=True, slots=True)
class Activity:
    """One thing that is done with personal data, as the record of processing names it."""

    purpose: Promise
    basis: Promise


@dataclass(frozen=True, slots=True)
class Table:
    """One table. `fields`: names, several with a space between them -> what they hold; NOTHING of a person."""

    label: str  # app.Model
    activity: Activity
    fields: Mapping[str, Holds | None]
    kept: Promise | None = None  # where no rule says it
    rule: str = ""  # of `console.retention.rules`
    stores: tuple[str, ...] = ()  # of `stores.STORES`: what erases it with its person

    def field_holds(self) -> dict[str, Holds | None]:
        return {name: holds for names, holds in self.fields.items() for name in names.split()}
