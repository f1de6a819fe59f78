"""The inventory is that of the models, and everybody who has to reads it in their language."""

from __future__ import annotations

import csv
import io
from collections import Counter

import pytest
from django.apps import apps
from django.db import models
from django.urls import reverse
from django.utils.translation import override

from console.privacy.holdings import Whose
from console.privacy.inventory import TABLES
from console.privacy.stores import STORES
from console.retention.record import HEADS, Row, as_csv, record, tables
from console.retention.rules import RULE
from console.site.roles import Role
from tests.unit.console.people import browser, caller, member

OUTSIDE = ("refused", "training", "broker", "journal", "logs")  # stores that are no tables


def test_every_field_of_every_table_has_a_row_and_no_row_is_without_its_field() -> None:
    known = {table.label: sorted(table.field_holds()) for table in TABLES}
    assert known == {label: sorted(names) for label, (_model, names) in tables().items()}
    assert len(known) == len(TABLES)
    for table in TABLES:
        names = Counter(name for names in table.fields for name in names.split())
        assert not [name for name, times in names.items() if times > 1], table.label


def test_what_leads_to_a_person_or_to_staff_says_so() -> None:
    """By a foreign key; free text is for whoever adds the row to know."""
    people = {apps.get_model(label) for label in ("vault.Subject", "vault.Consent", "predictions.Prediction")}
    staff = {apps.get_model("staff.User")}
    for table in TABLES:
        model, _names = tables()[table.label]
        for name, holds in table.field_holds().items():
            field = model._meta.get_field(name)
            if isinstance(field, models.ForeignKey) and field.related_model in people | staff:
                wanted = Whose.PERSON if field.related_model in people else Whose.STAFF
                assert holds is not None, f"{table.label}.{name}"
                assert holds.whose is wanted, f"{table.label}.{name}"


def test_of_what_is_personal_it_is_said_how_long_it_is_kept_and_what_erases_it() -> None:
    stores = {store.name for store in STORES}
    for table in TABLES:
        assert set(table.stores) <= stores, table.label
        assert (table.rule in RULE) != (table.kept is not None), table.label
        # What leads to a person goes with the person, or soon by itself.
        about = {name for name, holds in table.field_holds().items() if holds and holds.whose is Whose.PERSON}
        assert not about or table.stores or table.rule in ("erasures", "requests", "calls"), table.label
    ours_to_empty = {store.name for store in STORES if store.name not in OUTSIDE}
    assert {name for table in TABLES for name in table.stores} == ours_to_empty


def test_the_record_is_whole_in_both_languages_and_a_spreadsheet_reads_it() -> None:
    for language, head in (("en", "Legal basis"), ("th", "ฐานทางกฎหมาย")):
        with override(language):
            lines = list(csv.reader(io.StringIO(as_csv().removeprefix("\ufeff"))))
        assert head in lines[0]
        assert len(lines) - 1 == sum(len(names) for _model, names in tables().values())
    assert tuple(HEADS) == tuple(Row.__dataclass_fields__)
    with override("th"):
        for row in record(personal_only=True):
            for words in (row.holds, row.purpose, row.basis, row.kept, row.whose):
                assert any("\u0e00" < letter < "\u0e80" for letter in words), row


@pytest.mark.django_db
@pytest.mark.usefixtures("static_files")
def test_privacy_officers_read_it_on_a_page_and_take_it_with_them() -> None:
    visit = browser(member(Role.PRIVACY_OFFICER))
    shown = visit.get(reverse("admin:retention_applied_record")).content.decode()
    assert "vault.Consent" in shown
    assert "auth.Permission" not in shown
    taken = visit.get(reverse("admin:retention_applied_record_csv"))
    assert "record-of-processing-en.csv" in taken["Content-Disposition"]
    assert "auth.Permission" in taken.content.decode()
    fields = caller(Role.AUDITOR).get("/api/v1/privacy/record/").json()["fields"]
    assert fields == visit.get(reverse("admin:retention_applied_record_json")).json()["fields"]
    (mine,) = (row for row in fields if (row["table"], row["field"]) == ("vault.Subject", "found_by"))
    assert (mine["personal"], mine["whose"], mine["erased"]) == (
        True, "data subject", "key of the person, the person's own record",
    )  # fmt: skip
