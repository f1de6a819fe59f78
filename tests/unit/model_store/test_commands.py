"""`amulet verify` and `amulet signing-key create`, as a person uses them."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
from click.testing import CliRunner

from model_store import handler_list, signing
from model_store.commands import COMMANDS, signing_key, verify
from model_store.verification import RULES
from tests.unit.model_store.cast import HANDLERS, Signer, entries_of, zip_of


@pytest.fixture(autouse=True)
def _these_handlers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(handler_list.HandlerList, "load", staticmethod(lambda: HANDLERS))
    monkeypatch.setenv("AMULET_STATE_DIR", str(tmp_path / "no-stack"))
    monkeypatch.delenv("AMULET_TRUSTED_KEYS", raising=False)


@pytest.fixture
def archive(good_archive: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.mar"
    path.write_bytes(good_archive)
    return path


def test_a_good_archive_is_listed_rule_by_rule(archive: Path, maker: Signer) -> None:
    result = CliRunner().invoke(verify, [str(archive), "--trust", str(maker.public)])
    assert result.exit_code == 0, result.output
    assert [line.split()[1] for line in result.output.splitlines()[1:-1]] == list(RULES)
    assert result.output.splitlines()[-1] == "accepted"


def test_json_says_the_same(archive: Path, maker: Signer) -> None:
    result = CliRunner().invoke(verify, [str(archive), "--trust", str(maker.public.parent), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["accepted"] is True
    assert len(document["rules"]) == len(RULES)


def test_without_a_trusted_key_it_is_refused_and_says_what_to_do(archive: Path) -> None:
    result = CliRunner().invoke(verify, [str(archive)])
    assert result.exit_code == 1
    assert "REASON_ARCHIVE_SIGNER_NOT_TRUSTED" in result.stdout
    assert "--trust" in result.stderr


def test_the_stacks_own_trust_is_used_when_none_is_named(
    archive: Path, maker: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "state" / "console" / "trusted"
    folder.mkdir(parents=True)
    (folder / "maker.pem").write_bytes(maker.public.read_bytes())
    monkeypatch.setenv("AMULET_STATE_DIR", str(tmp_path / "state"))
    assert CliRunner().invoke(verify, [str(archive)]).exit_code == 0


def test_trusted_keys_that_are_named_count_before_the_stacks_own_folder(
    archive: Path, maker: Signer, stranger: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, own = tmp_path / "trusted", tmp_path / "state" / "console" / "trusted"
    for folder, signer in ((named, maker), (own, stranger)):
        folder.mkdir(parents=True)
        (folder / "release.pem").write_bytes(signer.public.read_bytes())
    monkeypatch.setenv("AMULET_STATE_DIR", str(tmp_path / "state"))

    assert CliRunner().invoke(verify, [str(archive)]).exit_code == 1
    monkeypatch.setenv("AMULET_TRUSTED_KEYS", str(named))
    assert CliRunner().invoke(verify, [str(archive)]).exit_code == 0
    assert CliRunner().invoke(verify, [str(archive), "--trust", str(own)]).exit_code == 1


def test_trusted_keys_that_are_not_there_are_named_with_their_variable(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_TRUSTED_KEYS", str(tmp_path / "nope"))

    result = CliRunner().invoke(verify, [str(archive)])

    assert result.exit_code == 2
    assert "Invalid value for AMULET_TRUSTED_KEYS" in result.stderr
    assert "does not exist" in " ".join(result.stderr.split())


def test_a_stacks_own_folder_that_cannot_be_looked_into_is_named(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_STATE_DIR", str(tmp_path / ("x" * 300)))

    result = CliRunner().invoke(verify, [str(archive)])

    assert result.exit_code == 2
    assert "Invalid value for AMULET_STATE_DIR" in result.stderr  # which is what the caller set
    assert "cannot be read" in " ".join(result.stderr.split())


def test_an_unsigned_archive_is_refused(good: dict[str, bytes], maker: Signer, tmp_path: Path) -> None:
    path = tmp_path / "unsigned.mar"
    path.write_bytes(zip_of(entries_of(good)))
    result = CliRunner().invoke(verify, [str(path), "--trust", str(maker.public)])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "refused: REASON_ARCHIVE_UNSIGNED"


@pytest.mark.parametrize("arguments", [[], ["nowhere.mar"], ["{archive}", "--trust", "nowhere.pem"]])
def test_wrong_use_is_told_apart(arguments: list[str], archive: Path) -> None:
    result = CliRunner().invoke(verify, [argument.format(archive=archive) for argument in arguments])
    assert result.exit_code == 2


def test_a_trusted_key_that_is_none_is_wrong_use(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("no key")
    result = CliRunner().invoke(verify, [str(archive), "--trust", str(tmp_path / "key.pub")])
    assert result.exit_code == 2
    assert "key.pub is not a public key" in " ".join(result.output.split())


def test_a_key_is_made_once(tmp_path: Path) -> None:
    out = tmp_path / "signing.key"
    result = CliRunner().invoke(signing_key, ["create", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    assert signing.fingerprint_of(Path(document["public_key"]).read_bytes()) == document["fingerprint"]
    again = CliRunner().invoke(signing_key, ["create", "--out", str(out)])
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_the_commands_are_exported_under_their_names() -> None:
    assert {name: command.name for name, command in COMMANDS.items()} == {
        "verify": "verify",
        "signing-key": "signing-key",
    }


def test_a_full_disk_is_told_in_a_sentence(archive: Path, maker: Signer, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        result = CliRunner().invoke(verify, [str(archive), "--trust", str(maker.public)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 1
    assert "TMPDIR" in result.stderr
    assert isinstance(result.exception, SystemExit)
