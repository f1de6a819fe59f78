"""Settings: a wrong or unknown variable stops the start with one sentence, and no password is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from console.site import backends
from console.site.configuration import ConfigurationWrong, ConsoleSettings, MailServer, load
from protos.addresses import BucketAddress
from protos.environment import PREFIX, VARIABLES
from tests.console_ready import new_state


class Read(Protocol):
    def __call__(self, **variables: str) -> ConsoleSettings: ...


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Settings as a process with these variables, and no others of ours, would read them."""

    def read_with(**variables: str) -> ConsoleSettings:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(f"{PREFIX}{name}", value)
        return load()

    return read_with


def test_nothing_set_gives_the_embedded_defaults(read: Read) -> None:
    settings = read()
    assert backends.database(settings)["NAME"] == ".amulet/console/db.sqlite3"
    assert backends.broker(settings)[0] == "filesystem://"
    assert backends.cache(settings)["BACKEND"].endswith("LocMemCache")
    assert not settings.behind_tls
    assert settings.control_token_file == Path(".amulet/secrets/control_token")


def test_the_state_folder_moves_everything_that_was_not_named(read: Read) -> None:
    settings = read(STATE_DIR="/srv/amulet", VAULT_KEY_FILE="/run/secrets/vault")
    assert settings.model_store == Path("/srv/amulet/models")
    assert settings.audit_key_file == Path("/srv/amulet/secrets/audit_signing.key")
    assert settings.vault_key_file == Path("/run/secrets/vault")


def test_one_variable_each_swaps_in_a_server(read: Read) -> None:
    settings = read(
        DATABASE_URL="postgresql://ana:s%40fe@db.example:5433/amulet?sslmode=require",
        BROKER_URL="amqp://guest@mq/amulet",
        CACHE_URL="redis://cache/1",
    )
    database = backends.database(settings)
    assert (database["ENGINE"], database["HOST"], database["PORT"]) == (
        "django.db.backends.postgresql",
        "db.example",
        "5433",
    )
    assert (database["USER"], database["PASSWORD"], database["NAME"]) == ("ana", "s@fe", "amulet")
    assert database["OPTIONS"]["sslmode"] == "require"
    assert backends.broker(settings)[0] == "amqp://guest@mq/amulet"
    assert backends.cache(settings)["LOCATION"] == "redis://cache/1"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("", MailServer("", 587, "", "", tls=False, starttls=False)),
        (
            "smtp://post:s%40fe@mail.example",
            MailServer("mail.example", 587, "post", "s@fe", tls=False, starttls=True),
        ),
        ("smtp://127.0.0.1:2525", MailServer("127.0.0.1", 2525, "", "", tls=False, starttls=False)),
        ("smtps://mail.example", MailServer("mail.example", 465, "", "", tls=True, starttls=False)),
    ],
)
def test_mail_leaves_this_machine_encrypted_or_not_at_all(read: Read, url: str, wanted: MailServer) -> None:
    assert (read(SMTP_URL=url) if url else read()).mail() == wanted


@pytest.mark.parametrize(
    ("url", "path"), [("sqlite:///relative/a.db", "relative/a.db"), ("sqlite:////absolute/a.db", "/absolute/a.db")]
)
def test_sqlite_paths_are_relative_with_three_strokes_and_absolute_with_four(read: Read, url: str, path: str) -> None:
    assert backends.database(read(DATABASE_URL=url))["NAME"] == path


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DATABASE_URL": "mysql://root:hunter2@db/x"}, "AMULET_DATABASE_URL is an address that is not shown here"),
        ({"BROKER_URL": "kafka://me:hunter2@x"}, "filesystem://, redis://"),
        ({"LOG_LEVEL": "LOUD"}, "AMULET_LOG_LEVEL is 'LOUD'"),
        ({"CONSOLE_LISTEN": "7480"}, "HOST:PORT"),
        ({"CONSOLE_LISTEN": "127.0.0.1:70000"}, "HOST:PORT"),
        ({"CONSOLE_DEBUG": "perhaps"}, "AMULET_CONSOLE_DEBUG"),
        (
            {"TORCHSERVE_MANAGEMENT_URL": "http://h:abc"},
            "AMULET_TORCHSERVE_MANAGEMENT_URL is 'http://h:abc': the port is",
        ),
        ({"TORCHSERVE_MANAGEMENT_URL": "h:8081"}, "is 'h:8081': wanted an address that begins with"),
        ({"TORCHSERVE_MANAGEMENT_URL": "http://h:65536"}, "AMULET_TORCHSERVE_MANAGEMENT_URL is 'http://h:65536'"),
        ({"TORCHSERVE_MANAGEMENT_URL": "https://"}, "wanted a HOST after http:// or https://"),
        (
            {"TORCHSERVE_MANAGEMENT_URL": "http://u:hunter2@h:abc"},
            "_MANAGEMENT_URL is an address that is not shown here",
        ),
        ({"OTLP_ENDPOINT": "http://h:abc"}, "AMULET_OTLP_ENDPOINT is 'http://h:abc': the port is no number"),
        ({"CONSOLE_HOSTS": "https://console.example.org"}, "names alone, comma separated, as in console.example.org"),
        ({"CONSOLE_HOSTS": "console.example.org:443"}, "AMULET_CONSOLE_HOSTS is 'console.example.org:443': wanted"),
        ({"CONSOLE_HOSTS": "one two"}, "AMULET_CONSOLE_HOSTS is 'one two': wanted names alone"),
        ({"KEEP_PREDICTIONS_DAYS": "999999"}, "AMULET_KEEP_PREDICTIONS_DAYS is '999999': input should be less than"),
        ({"KEEP_CONSENTS_DAYS": "999999"}, "input should be less than or equal to 36525"),
        ({"KEEP_REQUESTS_DAYS": "999999"}, "input should be less than or equal to 36525"),
        ({"RETRAIN_ERASED_DAYS": "999999"}, "input should be less than or equal to 36525"),
        ({"RETRAIN_LABELS": "99999999999999999999"}, "input should be less than or equal to 1000000000"),
        ({"MAIL_FROM": "nonsense"}, "AMULET_MAIL_FROM is 'nonsense': wanted one address, as amulet@example.org or"),
        ({"TRAINING_MIB_MAX": "99999999999999999999"}, "input should be less than or equal to 16777216"),
        ({"DATABSE_URL": "sqlite:///x"}, "did you mean AMULET_DATABASE_URL?"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(read: Read, variables: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationWrong) as wrong:
        read(**variables)
    assert said in str(wrong.value)
    assert "hunter2" not in str(wrong.value)
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://u@h:hunter2/x"),
        ("DATABASE_URL", "postgresql://u:hunter2/x@h/db"),
        ("BROKER_URL", "amqp://u:hunter2/x@h/"),
        ("CACHE_URL", "redis://h:65536/hunter2"),
        ("SMTP_URL", "smtp://h:hunter2"),
    ],
)
def test_a_port_that_is_none_is_refused_without_a_part_of_the_address(read: Read, name: str, url: str) -> None:
    with pytest.raises(ConfigurationWrong) as wrong:
        read(**{name: url})
    assert str(wrong.value) == (
        f"AMULET_{name} is an address that is not shown here: "
        "the port is no number up to 65535; a / in a password is written %2F"
    )


@pytest.mark.parametrize(
    "value",
    [
        *("a@", "@example.org", "a b", "a@b@c", "a @b", "a@b, c@d", "Team: a@b;", "a@b>", "พระ@example.org"),
        *("a@example.org\nBcc: b@example.org", "a@example.org\r", " a@example.org", "http://example.org"),
    ],
)
def test_a_sender_that_no_mail_server_takes_stops_the_start(read: Read, value: str) -> None:
    with pytest.raises(ConfigurationWrong, match=r"AMULET_MAIL_FROM is .*: wanted one address"):
        read(MAIL_FROM=value)


@pytest.mark.parametrize(
    "value", ["amulet@localhost", "พระเครื่อง <amulet@example.org>", '"Amulet, Bangkok" <a+b@[127.0.0.1]>', "a@พระ.th"]
)
def test_a_sender_is_one_mailbox_with_or_without_a_name(read: Read, value: str) -> None:
    assert read(MAIL_FROM=value).mail_from == value


def test_each_of_several_brokers_is_an_address(read: Read) -> None:
    both = "amqp://u:p@a:5672/v;amqp://u:p@b:5672/v"
    assert backends.broker(read(BROKER_URL=both))[0] == both
    with pytest.raises(ConfigurationWrong):
        read(BROKER_URL="amqp://u:hun;ter2@a/v")


@pytest.mark.parametrize(
    "url",
    [
        "file://relative/folder",
        "file://localhost/srv/objects",
        "file:relative",
        "file://",
        "file:///",
        "file:///srv/objects#2",
        "file:///srv/objects?a",
        "/srv/objects",
        "gs://bucket/prefix",
    ],
)
def test_storage_that_is_no_folder_of_this_machine_and_no_bucket_is_refused(read: Read, url: str) -> None:
    with pytest.raises(ConfigurationWrong) as wrong:
        read(STORAGE_URL=url)
    assert str(wrong.value) == (
        "AMULET_STORAGE_URL is an address that is not shown here: wanted file:///absolute/folder or s3://BUCKET/PREFIX"
    )


def test_a_bucket_that_is_none_is_refused(read: Read) -> None:
    with pytest.raises(
        ConfigurationWrong, match=r"^AMULET_STORAGE_URL is an address that is not shown here: wanted s3"
    ):
        read(STORAGE_URL="s3://Bucket")


def test_storage_lies_in_a_bucket_where_one_is_named(read: Read) -> None:
    found = read(STORAGE_URL="s3://photographs/kept", STORAGE_KEY_FILE="/run/secrets/s3")
    assert found.storage_bucket == BucketAddress("photographs", "kept", "", "")
    assert found.storage_key_file == Path("/run/secrets/s3")
    assert read(STORAGE_URL="file:///srv/objects").storage_bucket is None
    assert read().storage_bucket is None


def test_storage_lies_in_the_folder_that_is_named_or_in_the_state(read: Read) -> None:
    assert read(STORAGE_URL="file:///srv/objects").storage_dir == Path("/srv/objects")
    assert read(STATE_DIR="/srv/amulet").storage_dir == Path("/srv/amulet/console/objects")


@pytest.mark.parametrize("url", ["filesystem://relative/folder", "filesystem://", "filesystem:relative"])
def test_a_broker_of_files_that_is_no_folder_of_this_machine_is_refused(read: Read, url: str) -> None:
    with pytest.raises(ConfigurationWrong) as wrong:
        read(BROKER_URL=url)
    assert str(wrong.value) == (
        "AMULET_BROKER_URL is an address that is not shown here: wanted filesystem:///absolute/folder"
    )


def test_a_broker_of_files_lies_in_the_folder_that_is_named(read: Read) -> None:
    _, options = backends.broker(read(BROKER_URL="filesystem:///srv/broker"))
    assert options["data_folder_in"] == "/srv/broker/queue"


def test_passwords_in_addresses_do_not_show(read: Read) -> None:
    settings = read(DATABASE_URL="postgresql://a:hunter2@db/x", BROKER_URL="redis://:hunter2@x")
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("hosts", "behind_tls"),
    [("", False), ("localhost", False), ("127.0.0.2", False), ("console.example", True), ("10.0.0.7", True)],
)
def test_names_beyond_loopback_are_reached_through_tls_only(read: Read, hosts: str, behind_tls: bool) -> None:
    assert read(CONSOLE_HOSTS=hosts).behind_tls is behind_tls


def test_every_setting_is_a_listed_variable_and_describes_itself() -> None:
    listed = {name for name, readers in VARIABLES.items() if "console" in readers}
    assert {name.upper() for name in ConsoleSettings.model_fields} == listed
    for name, field in ConsoleSettings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize("module", ["console.serve", "console.manage"])
def test_a_wrong_setting_stops_a_process_with_one_sentence_and_status_2(module: str, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", module] + (["check"] if module == "console.manage" else [])
    environment = {"AMULET_STATE_DIR": str(tmp_path), "AMULET_LOG_FORMAT": "xml", "PATH": ""}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"AMULET_LOG_FORMAT is 'xml': .*\n", done.stderr)


@pytest.mark.parametrize(
    ("name", "url"),
    [("DATABASE_URL", "postgresql://u:hunter2/x@h/db"), ("SMTP_URL", "smtp://h:hunter2")],
)
def test_a_wrong_port_stops_a_command_with_one_sentence_and_no_traceback(name: str, url: str, tmp_path: Path) -> None:
    environment = {"AMULET_STATE_DIR": str(tmp_path), f"AMULET_{name}": url, "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "console.manage", "check"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(rf"AMULET_{name} is .* the port is no number .*\n", done.stderr)


def test_the_web_process_names_the_secret_that_is_missing(tmp_path: Path) -> None:
    environment = {"AMULET_STATE_DIR": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "console.serve"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("AMULET_SECRET_KEY_FILE names")


@pytest.mark.parametrize("content", ["โทเคน", "", "one\ntwo\n"])
def test_the_web_process_names_a_control_token_that_no_gateway_can_show(tmp_path: Path, content: str) -> None:
    for name in ("control_token", "key_secret", "django_secret", "photo_seal.key"):
        (tmp_path / "secrets").mkdir(exist_ok=True)
        (tmp_path / "secrets" / name).write_text(content if name == "control_token" else "x")
    environment = {"AMULET_STATE_DIR": str(tmp_path), "PATH": ""}

    done = subprocess.run(
        [sys.executable, "-m", "console.serve"], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert re.fullmatch(r"AMULET_CONTROL_TOKEN_FILE names \S+, which holds no token: wanted one line .*\n", done.stderr)


def test_names_of_hosts_are_taken_as_django_takes_them(read: Read) -> None:
    assert read(CONSOLE_HOSTS="console, .example.org,10.0.0.7,[::1], *,").hosts[3:] == (
        "console", ".example.org", "10.0.0.7", "*",
    )  # fmt: skip


def test_the_longest_that_anything_is_kept_is_a_day_that_there_was(read: Read) -> None:
    days = read(KEEP_PREDICTIONS_DAYS="36525").keep_predictions_days

    assert datetime.now(UTC) - timedelta(days=days) < datetime.now(UTC) + timedelta(days=days)  # both are dates


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("control_token", "CONTROL_TOKEN_FILE"),
        ("key_secret", "KEY_SECRET_FILE"),
        ("django_secret", "SECRET_KEY_FILE"),
        ("photo_seal.key", "PHOTO_SEAL_KEY_FILE"),
    ],
)
def test_a_secret_whose_content_was_lost_stops_every_process(
    read: Read, name: str, variable: str, tmp_path: Path
) -> None:
    secrets = new_state(tmp_path / "state") / "secrets"
    settings = read(STATE_DIR=str(secrets.parent))
    assert settings.unusable_files() == ()

    (secrets / name).write_bytes(b"0" * 32)

    (said,) = settings.unusable_files()
    assert said == f"AMULET_{variable} names {secrets / name}, which holds one byte over and over, and no secret"


def test_the_web_process_names_a_key_for_photographs_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    for name in ("control_token", "key_secret", "django_secret", "photo_seal.key"):
        (tmp_path / "secrets" / name).write_text("secret" * 5 + "s")
    environment = {"AMULET_STATE_DIR": str(tmp_path), "PATH": ""}

    done = subprocess.run(
        [sys.executable, "-m", "console.serve"], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert re.fullmatch(r"AMULET_PHOTO_SEAL_KEY_FILE names \S+, which must hold 32 bytes, and holds 31\n", done.stderr)
