"""A console that is not there by itself: what sends on elsewhere, or is another server, has done nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.main import main
from console.audit.commands import PUBLIC_KEY_NAME
from console.audit.notes import public_pem
from tests.unit.console.audit.logs import KEY, make_log


class Answers(BaseHTTPRequestHandler):
    """Every call alike."""

    status: ClassVar[int]
    headers_out: ClassVar[dict[str, str]]
    body: ClassVar[bytes]
    forwarded: ClassVar[list[str]]
    asked: ClassVar[list[str]]

    def _answer(self) -> None:
        self.asked.append(self.path)
        self.forwarded.append(self.headers.get("X-Forwarded-Proto", ""))
        self.send_response(self.status)
        for name, value in {**self.headers_out, "Content-Length": str(len(self.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = _answer  # noqa: N815 - named by the standard library

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Answers]]:
    """What answers where the command line looks for the console."""
    handler = type(
        "_Answers", (Answers,), {"status": 200, "headers_out": {}, "body": b"", "forwarded": [], "asked": []}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("AMULET_CONSOLE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AMULET_CONSOLE_TOKEN", "x")
        monkeypatch.delenv("AMULET_STATE_DIR", raising=False)  # a console's tests in this process have one
        monkeypatch.chdir(tmp_path)
        yield handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("command", [["keys", "revoke", "x"], ["models", "list"], ["audit", "export", "log.jsonl"]])
def test_what_is_sent_on_elsewhere_has_not_been_done(
    console: type[Answers], command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.status, console.headers_out = 301, {"Location": "https://console.example/api/v1/"}

    assert main(command) == 1

    said = capsys.readouterr()
    assert "sends on to https://console.example/api/v1/, and nothing was done" in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["models", "list"], ["audit", "export", "log.jsonl"]])
def test_another_server_is_no_console(
    console: type[Answers], command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.headers_out, console.body = {"Content-Type": "text/html"}, b"<html>Welcome</html>"

    assert main(command) == 1

    assert "is no Amulet console" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b'"x"',
        b'{"results": null}',
        b'{"results": [1]}',
        b"[{}]",
        b'{"results": [{"id": 1, "name": "x", "model": "m"}], "next": "elsewhere"}',
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["models", "approve", "v", "--reason", "r"],
        ["models", "rollback", "m", "--reason", "r", "--yes"],
        ["models", "then", "web-shop", "2026-01-31"],
        ["models", "push", "file"],
        ["keys", "create", "--name", "x"],
    ],
)
def test_another_server_that_speaks_json_is_no_console_either(
    console: type[Answers], body: bytes, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    console.body = body

    assert main(command) == 1

    said = capsys.readouterr()
    assert re.search("no Amulet console|there is no version v", said.err), said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_a_console_behind_tls_answers_on_its_own_machine_without(console: type[Answers]) -> None:
    console.body = b'{"results": [], "next": null}'

    main(["models", "list"])

    assert set(console.forwarded) == {"https"}


def test_an_export_of_the_log_says_what_it_wrote(
    console: type[Answers], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.body = b'{"sequence": 1}\n{"sequence": 2}\n'

    assert main(["audit", "export", "log.jsonl", "--json"]) == 0

    said = capsys.readouterr()
    assert json.loads(said.out) == {"file": "log.jsonl", "lines": 2, "bytes": len(console.body)}
    assert said.err == ""
    assert (tmp_path / "log.jsonl").read_bytes() == console.body


def test_an_export_of_the_log_may_begin_at_a_moment(console: type[Answers]) -> None:
    moments = ["2026-11-01T09:00:00+07:00", "2026-11-01"]
    for moment in moments:
        assert main(["audit", "export", "log.jsonl", "--since", moment]) == 0
    sent = [parse_qs(urlsplit(path).query)["since"] for path in console.asked]
    assert [datetime.fromisoformat(moment) for (moment,) in sent] == [
        datetime.fromisoformat(moment).astimezone() for moment in moments
    ]


@pytest.mark.parametrize("chosen", [None, "kept"])
def test_an_export_of_the_log_says_what_checks_it(
    console: type[Answers],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    chosen: str | None,
) -> None:
    console.body = b"".join(line + b"\n" for line in make_log(3, signed_at=(2,)).lines())
    folder = tmp_path / (chosen or ".amulet/checkpoints")
    folder.mkdir(parents=True)
    (folder / PUBLIC_KEY_NAME).write_bytes(public_pem(KEY.public_key()))
    if chosen:
        monkeypatch.setenv("AMULET_CHECKPOINT_DIR", chosen)

    assert main(["audit", "export", "the log.jsonl"]) == 0

    typed = shlex.split(capsys.readouterr().err.partition("To check it: amulet ")[2])
    assert main(typed) == 0
    assert "the log.jsonl: whole." in capsys.readouterr().out


def test_the_log_of_another_server_is_checked_with_its_key_and_not_with_one_that_lies_here(
    console: type[Answers], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.body = b"".join(line + b"\n" for line in make_log(3, signed_at=(2,)).lines())
    folder = tmp_path / ".amulet/checkpoints"
    folder.mkdir(parents=True)
    (folder / PUBLIC_KEY_NAME).write_bytes(public_pem(Ed25519PrivateKey.generate().public_key()))

    assert main(["audit", "export", "log.jsonl"]) == 0

    assert capsys.readouterr().err == (
        "log.jsonl holds the log. To check it, copy audit_public.pem from the server's checkpoints, then: "
        "amulet audit verify log.jsonl --key audit_public.pem\n"
    )


def test_an_export_of_the_log_takes_no_place_of_what_is_no_file(
    console: type[Answers], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.body = b'{"sequence": 1}\n'
    os.mkfifo(tmp_path / "pipe")

    assert main(["audit", "export", "pipe"]) == 2

    assert "pipe is no file that could be replaced" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


def test_labels_that_are_refused_leave_no_folder(console: type[Answers], tmp_path: Path) -> None:
    console.status = 403

    assert main(["labels", "export", "amulets", "--out", "some/where/else"]) == 1

    assert list(tmp_path.iterdir()) == []
