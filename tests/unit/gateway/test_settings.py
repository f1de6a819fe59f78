"""Settings: complete, typed, and a wrong one stops the start with one sentence."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsWrong, read_settings
from protos.environment import VARIABLES

INSECURE = {"AMULET_INSECURE": "1"}


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AMULET_")]:
        monkeypatch.delenv(name)


def read(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return read_settings(os.environ)


def test_the_settings_are_the_variables_that_the_gateway_is_listed_with() -> None:
    listed = {name for name, readers in VARIABLES.items() if "gateway" in readers}

    assert {name.upper() for name in Settings.model_fields} == listed


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description and field.description.endswith(".") for field in Settings.model_fields.values())


def test_paths_stand_in_the_state_folder_unless_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, {**INSECURE, "AMULET_STATE_DIR": "/srv/a", "AMULET_JOURNAL_DIR": "/fast/journal"})

    assert settings.key_secret_file == Path("/srv/a/secrets/key_secret")
    assert settings.journal_dir == Path("/fast/journal")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "AMULET_TLS_CERT and AMULET_TLS_KEY are not set: name a certificate, or set AMULET_INSECURE=1"),
        ({"AMULET_TLS_CERT": "a.pem"}, "AMULET_TLS_CERT and AMULET_TLS_KEY belong together"),
        ({**INSECURE, "AMULET_GATEWAY_LISTEN": "0.0.0.0:7443"}, "AMULET_INSECURE is allowed on loopback only"),
        ({**INSECURE, "AMULET_GATEWAY_LISTEN": "example.org:7443"}, "AMULET_INSECURE is allowed on loopback only"),
        ({**INSECURE, "AMULET_GATEWAY_LISTEN": "7443"}, "AMULET_GATEWAY_LISTEN is '7443': wanted HOST:PORT"),
        (
            {**INSECURE, "AMULET_GATEWAY_OPS_LISTEN": "::1:7445"},
            "AMULET_GATEWAY_OPS_LISTEN is '::1:7445': wanted HOST:PORT with an IPv6 address in brackets",
        ),
        (
            {**INSECURE, "AMULET_REQUEST_S_MAX": "soon"},
            "AMULET_REQUEST_S_MAX is 'soon': input should be a valid number",
        ),
        ({**INSECURE, "AMULET_DECODER_WORKERS": "0"}, "AMULET_DECODER_WORKERS is '0': input should be greater than"),
        ({**INSECURE, "AMULET_GATEWAY_ID": "a\tb"}, "AMULET_GATEWAY_ID is 'a\\tb': wanted a name that can be printed"),
        (
            {**INSECURE, "AMULET_CONNECTIONS_MAX": "15"},
            "AMULET_CONNECTIONS_MAX is '15': input should be greater than or equal to 16",
        ),
        (
            {**INSECURE, "AMULET_JOURNAL_AGE_S_MAX": "inf"},
            "AMULET_JOURNAL_AGE_S_MAX is 'inf': input should be less than or equal to 604800",
        ),
        ({**INSECURE, "AMULET_LOG_FORMAT": "xml"}, "AMULET_LOG_FORMAT is 'xml': input should be 'json' or 'text'"),
        (
            {**INSECURE, "AMULET_CONSOLE_URL": "ftp://x"},
            "AMULET_CONSOLE_URL is 'ftp://x': wanted an address that begins with http://",
        ),
        (
            {**INSECURE, "AMULET_CONSOLE_URL": "http://"},
            "AMULET_CONSOLE_URL is 'http://': wanted a HOST after http:// or https://, as in http://127.0.0.1:7480",
        ),
        (
            {**INSECURE, "AMULET_CACHE_URL": "redis://127.0.0.1:abc"},
            "AMULET_CACHE_URL: the port is no number up to 65535; a / in a password is written %2F",
        ),
        (
            {**INSECURE, "AMULET_OTLP_ENDPOINT": "http://h:abc"},
            "AMULET_OTLP_ENDPOINT is 'http://h:abc': the port is no number up to 65535",
        ),
        (
            {**INSECURE, "AMULET_GATEWAY_LISTN": "x"},
            "AMULET_GATEWAY_LISTN is not a setting of Amulet: did you mean AMULET_GATEWAY_LISTEN?",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsWrong) as wrong:
        read(monkeypatch, environment)

    assert str(wrong.value).startswith(sentence)


def limited(soft: int, hard: int, run: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What this Python does where it may have so many files open at first, and so many when it asks."""
    return subprocess.run(
        ["bash", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"', "bash", sys.executable, *shlex.split(run)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **INSECURE, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_more_connections_than_the_process_may_have_files_stop_the_start_with_a_sentence() -> None:
    workers = {"AMULET_DECODER_WORKERS": "2"}
    refused = limited(600, 600, "-m gateway", **workers, AMULET_CONNECTIONS_MAX="461")
    reads = "import os; from gateway.settings import read_settings as read; print(read(os.environ).connections_max)"
    taken = limited(600, 600, f"-c '{reads}'", **workers, AMULET_CONNECTIONS_MAX="460")

    assert refused.returncode == 2
    assert refused.stderr == (
        "gateway: AMULET_CONNECTIONS_MAX is 461, and this process may have 600 files open, of which it needs 140 for "
        "itself: let it have 601 (`ulimit -n`, or `LimitNOFILE=` of its unit), or fewer connections\n"
    )
    assert (taken.stdout, taken.stderr) == ("460\n", "")


def test_a_low_limit_that_may_be_raised_is_raised_as_far_as_is_needed() -> None:
    raised = "import resource; from gateway.__main__ import _let_open as let; let(652); let(300)"
    found = limited(256, 1024, f"-c '{raised}; print(resource.getrlimit(resource.RLIMIT_NOFILE))'")

    assert (found.stdout, found.stderr) == ("(652, 1024)\n", "")


@pytest.mark.parametrize("url", ["amqp://u:hunter2@h/", "redis://u:hunter2/x@h/", "redis://u:[hunter2@h/"])
def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(SettingsWrong) as wrong:
        read(monkeypatch, {**INSECURE, "AMULET_CACHE_URL": url})
    monkeypatch.setenv("AMULET_CACHE_URL", "redis://u:hunter2@h/")

    assert "hunter2" not in str(wrong.value)
    assert "hunter2" not in repr(read_settings(os.environ))


@pytest.mark.parametrize(
    ("content", "wrong"), [(None, "cannot be read"), (b"\n", "is empty"), (bytes(48), "one byte over")]
)
def test_a_missing_or_empty_secret_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, wrong: str
) -> None:
    file = tmp_path / "key_secret"
    if content is not None:
        file.write_bytes(content)
    settings = read(monkeypatch, {**INSECURE, "AMULET_KEY_SECRET_FILE": str(file)})

    with pytest.raises(SettingsWrong, match=f"AMULET_KEY_SECRET_FILE names .*{wrong}"):
        settings.secret("key_secret")


@pytest.mark.parametrize("content", ["โทเคน".encode(), b"one\ntwo", b"\xff\xfe", b" x", b"a\x00b"])
def test_a_control_token_that_no_header_carries_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "control_token"
    file.write_bytes(content)
    settings = read(monkeypatch, {**INSECURE, "AMULET_CONTROL_TOKEN_FILE": str(file)})

    with pytest.raises(SettingsWrong) as wrong:
        settings.secret("control_token")

    assert str(wrong.value) == (
        f"AMULET_CONTROL_TOKEN_FILE names {file}, which holds no token: "
        "wanted one line of printable ASCII, as `openssl rand -hex 32` prints"
    )


def test_only_what_is_given_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMULET_GATEWAY_ID", "another")

    assert read_settings({**INSECURE, "AMULET_GATEWAY_ID": "this"}).gateway_id == "this"


def test_a_secret_is_read_without_its_newline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key_secret").write_bytes(b"\x00secret \xff\r\n")
    settings = read(monkeypatch, {**INSECURE, "AMULET_KEY_SECRET_FILE": str(tmp_path / "key_secret")})

    assert settings.secret("key_secret") == b"\x00secret \xff"


@pytest.mark.parametrize(("usable", "workers"), [(1, 2), (3, 3), (64, 8)])
def test_decoders_are_as_many_as_there_are_cores_to_use(
    monkeypatch: pytest.MonkeyPatch, usable: int, workers: int
) -> None:
    monkeypatch.setattr("gateway.settings.cores", lambda: usable)  # stands for the control group of another machine

    assert read(monkeypatch, INSECURE).decoder_workers == workers
