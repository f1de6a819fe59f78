"""The record of processing (GDPR 30, PDPA 39): every field of every table, from `privacy.inventory` and the rules.

It stands here because how long something is kept is this app's to say.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Final

from django.apps import apps
from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from console.privacy.holdings import Holds, Table, Whose
from console.privacy.inventory import TABLES
from console.privacy.notice import Use
from console.privacy.stores import STORES
from console.retention.rules import RULE

# The columns as a person reads them, in order.
HEADS: Final = {
    "table": gettext_noop("Table"),
    "field": gettext_noop("Field"),
    "personal": gettext_noop("Personal"),
    "whose": gettext_noop("Of whom"),
    "holds": gettext_noop("What it holds"),
    "purpose": gettext_noop("Purpose"),
    "basis": gettext_noop("Legal basis"),
    "kept": gettext_noop("How long"),
    "erased": gettext_noop("Erased with the person as"),
}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


@dataclass(frozen=True, slots=True)
class Row:
    """One field, in words of the active language; the last six are empty where it says nothing of a person."""

    table: str
    field: str
    personal: bool
    whose: str
    holds: str
    purpose: str
    basis: str
    kept: str
    erased: str


def tables() -> dict[str, tuple[type[models.Model], list[str]]]:
    """Label -> the model and the names of its fields, of every table that there is."""
    return {
        model._meta.label: (model, [field.name for field in model._meta.local_concrete_fields])
        for model in apps.get_models(include_auto_created=True)
        if not model._meta.proxy
    }


def record(*, personal_only: bool = False) -> Iterator[Row]:
    """Every field in the order of the inventory. Asks no database."""
    for table in TABLES:
        for name, holds in table.field_holds().items():
            if holds is not None or not personal_only:
                yield _row(table, name, holds)


def of_people() -> list[Use]:
    """What is done with data of people who are no staff, once for each purpose, basis and time. Asks no database."""
    held: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in record(personal_only=True):
        if row.whose == str(Whose.PERSON.label):
            held.setdefault((row.purpose, row.basis, row.kept), {})[row.holds] = None
    return [Use(purpose, basis, "; ".join(holds), kept) for (purpose, basis, kept), holds in held.items()]


def as_csv() -> str:
    """The whole record with a line of heads, in the active language; opens in a spreadsheet, Thai letters included."""
    out = io.StringIO()
    out.write("\ufeff")  # without it a spreadsheet reads Thai as Latin
    writer = csv.writer(out)
    writer.writerow([_(head) for head in HEADS.values()])
    for row in record():
        writer.writerow([_cell(getattr(row, column.name)) for column in fields(Row)])
    return out.getvalue()


def as_document() -> dict[str, object]:
    """The same for programs."""
    return {"form": "amulet record of processing 1", "fields": [asdict(row) for row in record()]}


def _row(table: Table, name: str, holds: Holds | None) -> Row:
    if holds is None:
        return Row(table.label, name, False, "", "", "", "", "", "")
    return Row(
        table=table.label,
        field=name,
        personal=True,
        whose=str(holds.whose.label),
        holds=str(holds.what),
        purpose=str(table.activity.purpose),
        basis=str(table.activity.basis),
        kept=str(RULE[table.rule].time if table.rule else table.kept),
        erased=", ".join(str(store.text) for store in STORES if store.name in table.stores),
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
