"""`amulet up` that cannot succeed ends before anything is started, with a sentence that names what is wrong."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli import provision as provisioning
from cli import supervision
from cli.checks import holdings
from cli.checks.holdings import unusable
from cli.demo import _amulet
from cli.layout import HOST, Layout, Ports
from cli.main import main
from cli.port_claims import claimed
from cli.provision import provision
from cli.stack import stop
from console.vault.cipher import load_master_keys
from console.vault.folder import Folder
from console.vault.ownership import is_ours
from model_store import signing
from protos.environment import PREFIX
from tests import tiny_archive
from tests.pages import ROOT
from tests.ports import free_offset

ANOTHER = 4711  # a user's number that nobody here has


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folder of a stack that ran before."""
    found = Layout(tmp_path / "state", Ports(free_offset()))
    provision(found)
    found.record.write_text(json.dumps(found.document()))
    return found


def refusal(layout: Layout, capsys: pytest.CaptureFixture[str], command: str = "up", *, status: int = 1) -> str:
    """The sentence of an `amulet` command that fails, and has started nothing."""
    assert main([command, "--state", str(layout.state)]) == status
    assert not layout.supervisor_config.exists()
    assert supervision.pid(layout) is None
    sentence = capsys.readouterr().err.strip()
    assert len(sentence.splitlines()) == 1
    return sentence


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("CONTROL_TOKEN_FILE", None, "which cannot be read (No such file or directory)"),
        ("KEY_SECRET_FILE", None, "which cannot be read (No such file or directory)"),
        ("KEY_SECRET_FILE", b"\n", "which is empty"),
        ("INPUT_HASH_SECRET_FILE", None, "which cannot be read (No such file or directory)"),
        ("SECRET_KEY_FILE", None, "which cannot be read (No such file or directory)"),
        ("VAULT_KEY_FILE", b"short", "which must hold 32 bytes, and holds 5"),
        ("PHOTO_SEAL_KEY_FILE", b"x" * 33, "which must hold 32 bytes, and holds 33"),
        ("AUDIT_KEY_FILE", b"no key", "which holds no private key"),
        ("KEY_SECRET_FILE", b"0" * 48 + b"\n", "which holds one byte over and over, and no secret"),
        ("SECRET_KEY_FILE", bytes(48), "which holds one byte over and over, and no secret"),
        ("INPUT_HASH_SECRET_FILE", bytes(48), "which holds one byte over and over, and no secret"),
        ("VAULT_KEY_FILE", bytes(32), "which holds one byte over and over, and no secret"),
        ("PHOTO_SEAL_KEY_FILE", b"\xff" * 32, "which holds one byte over and over, and no secret"),
        ("AUDIT_KEY_FILE", bytes(32), "which holds one byte over and over, and no secret"),
        ("WEBHOOK_CA", None, "which cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_a_setting_names_is_named_with_its_variable(
    layout: Layout,
    name: str,
    content: bytes | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = layout.state.with_name("named")
    if content is not None:
        named.write_bytes(content)
    monkeypatch.setenv(f"{PREFIX}{name}", str(named))

    sentence = refusal(layout, capsys)

    assert f"{PREFIX}{name} names {named}, {said}" in sentence
    instead = "" if name == "WEBHOOK_CA" else " for the stack's own"  # of which a stack has none
    assert sentence.rstrip().endswith(f"unset {PREFIX}{name}{instead}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DECODER_WORKERS", "many"),
        ("CONSOLE_LISTEN", "foo"),
        ("GATEWAY_LISTEN", "::1:7443"),
        ("TORCHSERVE_GRPC", "10.0.0.7:7070"),
        ("DATABASE_URL", "mysql://h/amulet"),
        ("BROKER_URL", "kafka://h"),
    ],
)
def test_a_setting_that_no_process_takes_is_wrong_use(
    layout: Layout, name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)

    assert f"{PREFIX}{name}" in refusal(layout, capsys, status=2)


def test_a_secret_of_the_stacks_own_that_was_damaged_is_named(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    (layout.secrets / "vault.key").write_bytes(b"")

    sentence = refusal(layout, capsys)

    assert f"AMULET_VAULT_KEY_FILE names {layout.secrets / 'vault.key'}, which must hold 32 bytes" in sentence
    assert "from a backup" in sentence


@pytest.mark.parametrize(
    ("name", "variable"), [("vault.key", "VAULT_KEY_FILE"), ("audit_signing.key", "AUDIT_KEY_FILE")]
)
def test_a_lost_key_is_not_made_anew_by_a_start_and_is_by_whoever_asks_for_it(
    layout: Layout, name: str, variable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = layout.secrets / name
    key.rename(layout.state.with_name(name))

    sentence = refusal(layout, capsys)

    assert f"{key} is missing, and " in sentence
    assert "put it back from a backup" in sentence
    assert not key.exists()
    assert not list(unusable(layout, {f"{PREFIX}{variable}": str(layout.state.with_name(name))}))
    assert main(["provision", "--state", str(layout.state)]) == 0  # as the sentence says
    assert not list(unusable(layout, {}))


@pytest.mark.parametrize(
    ("name", "what"),
    [("100% ours", "'%'"), ("ours ;theirs", "' ;'"), ("two\nlines", r"'\n'"), (os.fsdecode(b"caf\xe9"), r"'\udce9'")],
)
def test_a_folder_that_the_supervisor_would_misread_is_named_before_anything_is_made(
    tmp_path: Path, name: str, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / name

    sentence = refusal(Layout(place, Ports(free_offset())), capsys)

    assert f"holds {what}, which the supervisor's configuration cannot: choose another --state" in sentence
    assert not place.exists()
    monkeypatch.setenv("AMULET_MODEL_STORE", str(place))
    sentence = refusal(Layout(tmp_path / "state", Ports(free_offset())), capsys)
    assert f"holds {what}" in sentence
    assert sentence.endswith("name another in AMULET_MODEL_STORE")


def test_a_folder_with_spaces_quotes_and_thai_letters_is_none_of_those(tmp_path: Path) -> None:
    assert holdings.named(Layout.of(tmp_path / 'it\'s "ours" a#1;พระ 😀')) is None


def test_a_folder_that_never_ran_a_stack_has_lost_no_key(tmp_path: Path) -> None:
    made = Layout.of(tmp_path / "state")
    made.secrets.mkdir(parents=True)

    assert not list(unusable(made, {}))


def test_credentials_of_a_bucket_that_are_not_there_are_named(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMULET_STORAGE_URL", "s3://photographs")
    monkeypatch.setenv("AMULET_STORAGE_KEY_FILE", "/nowhere")

    sentence = refusal(layout, capsys)

    assert "AMULET_STORAGE_KEY_FILE names /nowhere, which cannot be read" in sentence
    assert sentence.rstrip().endswith("or unset AMULET_STORAGE_KEY_FILE")


@pytest.mark.parametrize(
    ("name", "wanted"), [("TRUSTED_KEYS", "folder"), ("TLS_CA", "file"), ("TRAINING_COMMAND", "program")]
)
def test_what_is_first_looked_for_when_it_is_needed_is_missed_before_the_start(
    layout: Layout, name: str, wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", "/nowhere")

    sentence = refusal(layout, capsys)

    assert f"{PREFIX}{name} names /nowhere, which is no {wanted}: name one, or unset {PREFIX}{name}" in sentence


def test_a_key_without_its_certificate_is_not_taken_for_one_that_will_be_made(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMULET_TLS_KEY", "/nowhere")

    assert "certificate: /nowhere cannot be read: No such file or directory" in refusal(layout, capsys)


def test_a_start_beside_another_on_the_same_ports_is_refused_before_either_listens(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    with claimed({"console": layout.ports.console}):
        sentence = refusal(layout, capsys)

    assert f"is starting a stack on port {layout.ports.console} (console): choose --port-offset, or wait" in sentence


@pytest.mark.parametrize("name", ["MODEL_STORE", "JOURNAL_DIR", "STAGING_DIR", "CHECKPOINT_DIR", "STORAGE_URL"])
def test_a_folder_that_cannot_be_one_is_named(
    layout: Layout, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = layout.state.with_name("file")
    file.write_text("")
    folder = file / "below"
    monkeypatch.setenv(f"{PREFIX}{name}", f"file://{folder}" if name.endswith("URL") else str(folder))

    assert f"{PREFIX}{name} names {folder}, and {file} is no folder" in refusal(layout, capsys)


def test_a_folder_that_another_console_keeps_its_photographs_in_is_named(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Layout(tmp_path / "other", Ports(free_offset()))
    provision(other)
    shared = tmp_path / "shared"
    assert is_ours(Folder(shared), load_master_keys(other.secrets / "vault.key"))
    monkeypatch.setenv("AMULET_STORAGE_URL", f"file://{shared}")

    sentence = refusal(layout, capsys)

    assert f"the folder {shared} holds the photographs of another console, which has another vault.key" in sentence
    assert sentence.endswith("name another folder")


def test_a_model_store_that_others_may_write_to_is_named(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    layout.models.chmod(0o775)

    assert f"`chmod go-w {layout.models}`" in refusal(layout, capsys)


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077, 0o777])
def test_a_shells_umask_opens_nothing_to_others_and_closes_nothing_to_its_owner(tmp_path: Path, umask: int) -> None:
    layout = Layout.of(tmp_path / "state")
    before = os.umask(umask)
    try:
        assert main(["provision", "--state", str(layout.state)]) == 0
        assert os.umask(umask) == umask
    finally:
        os.umask(before)

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (layout.state, *layout.state.rglob("*"))}
    assert not [path for path, mode in modes.items() if mode & 0o022]
    assert all(mode & 0o700 == 0o700 for path, mode in modes.items() if path.is_dir())


def test_a_folder_that_is_closed_to_whoever_starts_is_named_with_its_owner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the rights that root has none of its own are wanting: what the kernel answers others is said for it."""
    closed = tmp_path / "closed"
    closed.mkdir()
    ask = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: ask(path, mode) and (Path(path) != closed or mode == os.F_OK))
    for state in (closed, closed / "state"):
        assert main(["up", "--state", str(state)]) == 2
        assert f"{closed} belongs to user {os.getuid()} and is closed to user" in capsys.readouterr().err


def test_a_disk_without_room_for_the_journal_is_named(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMULET_JOURNAL_FREE_MIB_MIN", "1000000000")

    sentence = refusal(layout, capsys)

    assert f"MiB are free for the journal in {layout.gateway / 'journal'}" in sentence
    assert "AMULET_JOURNAL_DIR" in sentence


def test_a_damaged_database_is_named(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    (layout.console / "db.sqlite3").write_bytes(b"no database" * 1000)

    sentence = refusal(layout, capsys)

    assert f"{layout.console / 'db.sqlite3'}: file is not a database" in sentence
    assert "backup" in sentence


def test_a_certificate_that_no_caller_takes_is_named_and_the_stacks_own_is_renewed(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Layout.of(layout.state.with_name("other"))
    monkeypatch.setattr(provisioning, "CERTIFICATE_LIFE", timedelta(minutes=-5))
    provision(other)
    monkeypatch.setenv("AMULET_TLS_CERT", str(other.tls / "server.pem"))
    monkeypatch.setenv("AMULET_TLS_KEY", str(other.tls / "server.key"))

    assert f"{other.tls / 'server.pem'} expired on" in refusal(layout, capsys)
    expired_own = unusable(other, {})  # this one is renewed by its own stack
    assert not list(expired_own)

    monkeypatch.setenv("AMULET_TLS_KEY", str(layout.tls / "server.key"))
    assert "is not the key of" in refusal(layout, capsys)

    (layout.tls / "server.pem").write_text("no certificate")
    monkeypatch.delenv("AMULET_TLS_CERT")
    monkeypatch.delenv("AMULET_TLS_KEY")
    assert "are no certificate and key" in refusal(layout, capsys)


@pytest.mark.parametrize("lacking", ["server.key", "server.pem"])
def test_a_certificate_that_a_killed_start_made_half_of_holds_up_no_start(layout: Layout, lacking: str) -> None:
    (layout.tls / lacking).unlink()

    assert not list(unusable(layout, {}))
    provision(layout)
    assert holdings.certificate(layout.tls / "server.pem", layout.tls / "server.key", datetime.now(UTC), own=True).ok


def test_two_starts_in_one_folder_do_not_write_it_at_once_and_none_is_stopped_half_way(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    record = layout.record.read_text()
    with layout.starting.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        assert "another `amulet up` is starting the stack" in refusal(layout, capsys)
        assert "`amulet up` is starting the stack" in refusal(layout, capsys, "down")

    assert layout.record.read_text() == record
    assert main(["down", "--state", str(layout.state)]) == 0
    assert "Nothing runs" in capsys.readouterr().err


def test_the_demonstration_trusts_its_own_key_whatever_folder_the_caller_names(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, archive = tmp_path / "named", tmp_path / "tiny.mar"
    signing_key = tmp_path / "signing.key"
    signing.generate_key(signing_key)
    named.mkdir()
    (tmp_path / "run").mkdir()
    tiny_archive.write_archive(tmp_path / "run", archive, key=signing_key)
    (layout.trusted / "demo.pem").write_bytes((tmp_path / "signing.key.pub").read_bytes())
    monkeypatch.setenv("AMULET_TRUSTED_KEYS", str(named))

    report = json.loads(_amulet(layout, "verify", str(archive), "--json"))

    assert report["accepted"]
    assert not [*named.iterdir()]


@pytest.mark.parametrize(
    "name",
    ["logs/gateway.log", "logs/supervisord.log", "torchserve/config.properties", "gateway/policy.pb", "stack.json",
     "gateway/journal/00000000000000000001.journal"],
)  # fmt: skip
def test_a_file_that_another_user_left_is_named_before_anything_starts(layout: Layout, name: str) -> None:
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("only root can leave another user's file, and setpriv take from root what opens it")
    file = layout.state / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    os.chown(file, ANOTHER, ANOTHER)
    done = subprocess.run(
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "-m", "cli.main", "up", "--detach",
         "--state", str(layout.state)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    if supervision.pid(layout) is not None:  # it was started over it
        stop(layout)
    assert done.returncode == 1
    assert done.stderr == (
        f"amulet: state folder: {file} belongs to user {ANOTHER} and cannot be used by user 0: "
        f"`chown -R 0 {layout.state}`, or start as user {ANOTHER}, or choose another --state\n"
    )


def test_a_machine_without_a_loopback_is_no_place_for_a_stack(layout: Layout) -> None:
    """A network of one's own begins so; each part would wait for the others until the start gives up."""
    alone = ["unshare", "--map-root-user", "--net", sys.executable, "-m", "cli.main"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "--version"], cwd=ROOT, check=False).returncode:
        pytest.skip("nobody may have a network of their own here")

    done = subprocess.run(
        [*alone, "up", "--state", str(layout.state)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"amulet: loopback: {HOST} does not lead to this machine itself: ")
    assert "ip link set lo up" in done.stderr
    assert not layout.supervisor_config.exists()
