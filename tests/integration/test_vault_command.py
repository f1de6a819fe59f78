"""`amulet vault` beside a console's own database and key file, and over a key file alone."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from cli import supervision
from cli.checks.files import files
from cli.checks.vault import vault as look
from cli.layout import Layout
from cli.main import main
from console.privacy import ledger
from console.vault.cipher import load_master_keys, new_subject_key
from tests import migrated
from tests.console_ready import new_state


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folder of a stack that ran before."""
    found = Layout.of(new_state(tmp_path / "state"))
    migrated.give_tables(found, supervision.environment(found, {}))
    found.record.write_text(json.dumps(found.document()))
    return found


def vault(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["vault", *arguments, "--json"]) == 0
    return list(json.loads(capsys.readouterr().out)["keys"])


def test_a_key_is_rotated_by_hand(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    state = ("--state", str(layout.state))
    (first,) = vault(capsys, "keys", *state)
    assert (first["use"], first["people"]) == ("wraps", 0)
    old, new = (each["id"] for each in vault(capsys, "add", *state))
    assert [each["use"] for each in vault(capsys, "use", str(new), *state)] == ["wraps", "opens"]
    assert [each["id"] for each in vault(capsys, "remove", str(old), *state)] == [new]
    assert [finding.found for finding in files(layout, {}) if not finding.ok] == []
    assert look(layout, {}).found == f"the master key {new} wraps"

    assert main(["vault", "remove", str(new), *state]) == 1
    assert "wraps: let another one" in capsys.readouterr().err
    assert main(["vault", "keys", *state]) == 0
    assert capsys.readouterr().out.split() == [new, "wraps", "0", "people"]


def test_the_file_that_another_machine_will_get_is_changed_without_a_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vault.key"
    file.write_bytes(os.urandom(32))
    before = file.read_bytes()
    old, new = (str(each["id"]) for each in vault(capsys, "add", "--file", str(file)))
    vault(capsys, "use", new, "--file", str(file))
    assert [each["id"] for each in vault(capsys, "remove", old, "--file", str(file))] == [new]

    kept = tmp_path / "kept.key"
    kept.write_bytes(before)
    assert {each["id"] for each in vault(capsys, "add", "--file", str(file), "--from", str(kept))} == {new, old}
    assert main(["vault", "use", "abcdef", "--file", str(file)]) == 1
    assert f"holds no key 'abcdef'; it holds {new}, {old}" in capsys.readouterr().err


def a_person_under(layout: Layout, key: Path) -> None:
    """A row as a console under this key file writes it."""
    keys, person = load_master_keys(key), uuid4()
    with closing(sqlite3.connect(layout.console / "db.sqlite3")) as database, database:
        database.execute(
            "INSERT INTO vault_subject (id, found_by, wrapped_key, created_at) VALUES (?, ?, ?, '2026-11-30 00:00:00')",
            [person.hex, os.urandom(32), new_subject_key(keys, person)],
        )


def test_a_key_that_is_lost_is_told_by_the_doctor_and_given_up(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    state, file = ("--state", str(layout.state)), layout.secrets / "vault.key"
    assert look(layout, {}).found == "one master key, never rotated"
    old, new = (str(each["id"]) for each in vault(capsys, "add", "--file", str(file)))
    a_person_under(layout, file)
    vault(capsys, "use", new, "--file", str(file))
    assert look(layout, {}).found == (
        f"the master key {new} wraps; 1 people's keys are wrapped under another, `amulet vault rewrap` brings them over"
    )
    vault(capsys, "remove", old, "--file", str(file))
    finding = look(layout, {})
    assert not finding.ok
    assert f"lacks the master key {old}, under which 1 people's keys are wrapped in this database" in finding.found

    assert main(["vault", "give-up", old, *state]) == 2  # nobody can be asked
    said = capsys.readouterr().err
    assert f"1 people's keys are wrapped under {old}, which is not here: 0 photographs and heat maps" in said
    assert "--yes gives it up without" in said
    assert not look(layout, {}).ok
    (only,) = vault(capsys, "give-up", old, "--yes", *state)
    assert (only["id"], only["people"]) == (new, 1)
    assert look(layout, {}).ok


def test_a_file_of_keys_that_was_spoilt_is_told_by_the_doctor(layout: Layout) -> None:
    file = layout.secrets / "vault.key"
    assert main(["vault", "add", "--file", str(file)]) == 0
    file.write_bytes(file.read_bytes()[:-9])
    (finding,) = (finding for finding in files(layout, {}) if not finding.ok)
    assert f"AMULET_VAULT_KEY_FILE names {file}, which does not hold its keys line by line" in finding.found


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ("another", "is not the key under which this database knows its people: nothing starts"),
        ("none", "is not there, and this database knows 1 people by one: nothing starts"),
        ("without the first", "lacks the master key from before the first rotation, under which 1 people's keys are"),
    ],
)
def test_a_start_with_another_key_than_the_databases_ends_before_anything_is_started(
    layout: Layout, capsys: pytest.CaptureFixture[str], now: str, said: str
) -> None:
    file = layout.secrets / "vault.key"
    a_person_under(layout, file)
    layout.record.unlink()  # a new folder beside a database that was there; of one that ran before more is known
    if now == "another":
        file.write_bytes(os.urandom(32))
    elif now == "none":
        file.unlink()
    else:
        old, new = (str(each["id"]) for each in vault(capsys, "add", "--file", str(file)))
        vault(capsys, "use", new, "--file", str(file))
        vault(capsys, "remove", old, "--file", str(file))

    finding = look(layout, {})
    assert not finding.ok
    assert said in finding.found
    assert main(["up", "--state", str(layout.state)]) == 1
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert f"{file}" in sentence
    assert said in sentence
    assert not layout.supervisor_config.exists()
    assert file.exists() == (now != "none")


def test_rows_are_held_against_the_log_where_operators_look(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["audit", "compare", "--state", str(layout.state)]
    assert main(command) == 0
    assert capsys.readouterr().out == "all rows are as they were told\n"

    a_person_under(layout, layout.secrets / "vault.key")
    with closing(sqlite3.connect(layout.console / "db.sqlite3")) as database:
        ((person,),) = database.execute("SELECT id FROM vault_subject").fetchall()
    line = ledger.Line(subject_id=UUID(person), erased_at=datetime.now(UTC), request_id=1)
    ledger.enter(layout.state / "ledger" / "erasures.jsonl", line)
    said = f"person {UUID(person)}: erased, by the ledger, and here again"
    assert main(command) == 1
    assert capsys.readouterr().out == f"{said}\n1 rows are not as they were told\n"
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"found": 1, "rows": [said]}

    (layout.console / "db.sqlite3").write_bytes(b"")
    assert main(command) == 1
    told = capsys.readouterr()
    assert (told.out, "not all rows could be compared" in told.err) == ("", True)
