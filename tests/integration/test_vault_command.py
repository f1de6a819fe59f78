"""`amulet vault` beside a console's own database and key file, and over a key file alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cli import supervision
from cli.checks.files import files
from cli.layout import Layout
from cli.main import main
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


def test_a_file_of_keys_that_was_spoilt_is_told_by_the_doctor(layout: Layout) -> None:
    file = layout.secrets / "vault.key"
    assert main(["vault", "add", "--file", str(file)]) == 0
    file.write_bytes(file.read_bytes()[:-9])
    (finding,) = (finding for finding in files(layout, {}) if not finding.ok)
    assert f"AMULET_VAULT_KEY_FILE names {file}, which does not hold its keys line by line" in finding.found
