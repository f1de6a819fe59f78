"""Dates that an earlier form stored 543 years late are named by `amulet doctor`, and stay as they are."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils.timezone import now

from cli.checks.dates import dates
from cli.checks.finding import Finding
from cli.layout import Layout, Ports
from console.clients import services as clients
from console.clients.models import ApiKey
from console.site.roles import Role
from console.staff import services as staff
from console.staff.models import ApiToken
from console.staff.scopes import Scope
from console.vault.services import give_consent, withdraw_consent
from tests.unit.console.people import member

LATE = datetime(2569, 12, 31, 11, tzinfo=UTC)
FAR = datetime(2126, 12, 31, 11, tzinfo=UTC)


@pytest.mark.django_db
def test_what_ends_543_years_late_is_named_until_somebody_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.checks.dates.read", _read)  # what a test writes, nobody else sees

    def looked() -> Finding:
        return dates(Layout(tmp_path, Ports(0)), {})

    boss, officer = member(Role.ADMINISTRATOR), member(Role.PRIVACY_OFFICER)
    client = clients.create_client(actor=boss, name="counter", models=[])
    clients.create_key(actor=boss, client_id=client.pk, expires_at=FAR)
    assert looked().ok
    key = clients.create_key(actor=boss, client_id=client.pk, expires_at=LATE).key
    token = staff.create_token(user=boss, actor=boss, name="nightly", scopes=[Scope.READ], expires_at=LATE).token
    fields: dict[str, Any] = {
        "purpose": "keep_photograph",
        "text_version": "1",
        "channel": "counter",
        "given_at": now(),
    }
    consent = give_consent(actor=officer, pseudonym="p", reference="c-1", expires_at=LATE, **fields)
    found = looked()
    assert not found.ok
    for named in (f"amk_{key.key_id}", f"amt_{token.key_id}", f"consent number {consent.pk}", "2569-12-31"):
        assert named in found.found
    assert "c-1" not in found.found  # a reference may tell who it is of
    clients.revoke_key(actor=boss, key_id=key.key_id)
    staff.revoke_token(actor=boss, key_id=token.key_id)
    withdraw_consent(actor=officer, reference="c-1", channel="counter")
    assert looked().ok
    assert {row.expires_at for row in (ApiKey.objects.get(pk=key.pk), ApiToken.objects.get(pk=token.pk))} == {LATE}


def _read(_layout: Layout, _url: str, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_an_embedded_database_is_read_and_never_made(tmp_path: Path) -> None:
    file = tmp_path / "own.sqlite3"
    address = {"AMULET_DATABASE_URL": f"sqlite:///{file}"}
    layout = Layout(tmp_path, Ports(0))
    assert dates(layout, address).found.startswith("cannot be looked at")
    assert not file.exists()
    with closing(sqlite3.connect(file)) as own, own:
        for table in ("clients_apikey", "staff_apitoken"):
            own.execute(f"CREATE TABLE {table} (key_id TEXT, revoked_at TEXT, expires_at TEXT)")
        assert dates(layout, address).found.startswith("cannot be looked at")  # no tables of an older console either
        own.execute("CREATE TABLE vault_consent (id INTEGER, withdrawn_at TEXT, expires_at TEXT)")
        own.executemany("INSERT INTO vault_consent VALUES (?, NULL, ?)", [(n, "2569-12-31 11:00:00") for n in range(7)])
    found = dates(layout, address)
    assert not found.ok
    assert found.found.startswith("7 in force that end in centuries: consent number 0 (2569-12-31), ")
    assert "consent number 4 (2569-12-31) and 2 more." in found.found
