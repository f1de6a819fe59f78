"""`amulet doctor` with the real servers: a wrong password or name is told from a server that does not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli import supervision
from cli.checks.servers import servers
from cli.checks.storage import storage
from cli.layout import Layout
from console.vault.bucket import Bucket
from console.vault.cipher import load_master_keys
from console.vault.ownership import is_ours
from protos.addresses import bucket
from tests.integration.console.running import servers as started
from tests.object_servers import BUCKET, rclone


@pytest.mark.servers
@pytest.mark.parametrize("name", ["postgresql+redis", "postgresql+rabbitmq"])
def test_servers_that_run_are_right(name: str) -> None:
    with started(name) as variables:
        findings = [*servers(variables), *storage(variables)]

    assert {finding.check for finding in findings} == {each for each in variables if each.endswith("_URL")}
    assert all(finding.ok for finding in findings), findings


@pytest.mark.servers
@pytest.mark.parametrize(
    ("name", "setting", "wrong", "said"),
    [
        ("postgresql+redis", "AMULET_DATABASE_URL", "postgresql://nobody:hidden-word@{place}/amulet", "nobody"),
        ("postgresql+redis", "AMULET_DATABASE_URL", "postgresql://postgres@{place}/amulet_no_such", "amulet_no_such"),
        ("postgresql+redis", "AMULET_DATABASE_URL", "postgresql://nobody:a@hidden-word@{place}/amulet", "nobody"),
        ("postgresql+redis", "AMULET_CACHE_URL", "redis://nobody:hidden-word@{place}/0", "invalid username-password"),
        ("postgresql+rabbitmq", "AMULET_BROKER_URL", "amqp://guest:hidden-word@{place}/", "ACCESS_REFUSED"),
        ("postgresql+rabbitmq", "AMULET_BROKER_URL", "amqp://guest:guest@{place}/no-such-host", "no-such-host"),
    ],
)
def test_a_server_that_refuses_says_why_and_no_password_shows(name: str, setting: str, wrong: str, said: str) -> None:
    with started(name) as variables:
        url = urlsplit(variables[setting])
        (finding,) = servers({setting: wrong.format(place=f"{url.hostname}:{url.port}")})

    assert not finding.ok
    assert "refuses" in finding.found
    assert said in finding.found
    assert setting in finding.mend
    assert "hidden-word" not in f"{finding}"


def test_a_bucket_that_does_not_let_us_in_or_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    strangers = tmp_path / "strangers"
    strangers.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = hidden-word\n")
    with rclone(tmp_path) as server:
        (right,) = storage(server.variables)
        (stranger,) = storage({**server.variables, "AMULET_STORAGE_KEY_FILE": str(strangers)})
        assert not list(
            storage({**server.variables, "AMULET_STORAGE_KEY_FILE": str(tmp_path / "none")})
        )  # `files` says so
        (elsewhere,) = storage({**server.variables, "AMULET_STORAGE_URL": server.url.replace(BUCKET, "nobodys")})
    (gone,) = storage(server.variables)

    assert right.ok
    assert "SignatureDoesNotMatch" in stranger.found or "InvalidAccessKeyId" in stranger.found
    assert "hidden-word" not in f"{stranger}"
    assert "the bucket nobodys" in elsewhere.found
    assert "NoSuchBucket" in elsewhere.found
    assert "does not answer" in gone.found
    assert not any(finding.ok for finding in (stranger, elsewhere, gone))
    assert all("AMULET_STORAGE_" in finding.mend for finding in (stranger, elsewhere, gone))
    assert not list(storage({"AMULET_STORAGE_URL": f"file://{tmp_path}"}))


def test_what_lets_the_check_into_a_bucket_lets_the_processes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file of keys both look where Amazon's tools look, the environment first."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with rclone(tmp_path) as server:
        for line in server.key_file.read_text().splitlines()[1:]:
            name, _, value = line.partition(" = ")
            monkeypatch.setenv(name.upper(), value)
        told = supervision.environment(Layout.of(tmp_path / "state"), {**os.environ, "AMULET_STORAGE_URL": server.url})

        (checked,) = storage(told)
        done = subprocess.run(
            [sys.executable, "-c", LOOKS, server.url], env=told, capture_output=True, text=True, check=False
        )

    assert checked.ok
    assert done.returncode == 0, done.stderr


LOOKS = """
import sys
from console.vault.bucket import Bucket
from protos.addresses import bucket
Bucket(bucket(sys.argv[1]), key_file=None, ca_file=None).look()
"""


def test_a_bucket_that_another_console_keeps_its_photographs_in_is_refused(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.key", tmp_path / "theirs.key"
    for key in (ours, theirs):
        key.write_bytes(os.urandom(32))
    with rclone(tmp_path) as server:
        store = Bucket(bucket(server.url), key_file=server.key_file, ca_file=None)
        assert is_ours(store, load_master_keys(theirs))
        (right,) = storage({**server.variables, "AMULET_VAULT_KEY_FILE": str(theirs)})
        (wrong,) = storage({**server.variables, "AMULET_VAULT_KEY_FILE": str(ours)})
        (to_be,) = storage({**server.variables, "AMULET_VAULT_KEY_FILE": str(tmp_path / "to be made")})
        (apart,) = storage(
            {
                **server.variables,
                "AMULET_STORAGE_URL": server.url.replace(BUCKET, f"{BUCKET}/another"),
                "AMULET_VAULT_KEY_FILE": str(ours),
            }
        )

    assert right.ok
    assert apart.ok
    for finding in (wrong, to_be):
        assert not finding.ok
        assert "holds the photographs of another console, which has another vault.key" in finding.found
        assert f"as s3://{BUCKET}/{bucket(server.url).prefix}/another" in finding.mend
