"""What only moves on a terminal is nowhere else: a log, a pipe and CI get sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.connection import ConsoleConnection
from cli.main import main
from cli.remote import _upload
from console.audit.notes import public_pem


class Desk:
    """The console, as an upload meets it."""

    def call(self, _method: str, path: str, **_: Any) -> dict[str, Any]:
        return {"id": "1", "offset": 0} if path == "uploads/" else {"version": "v1"}

    def send(self, *_: Any, **__: Any) -> None:
        pass


def test_an_upload_says_nothing_to_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "a.mar"
    archive.write_bytes(b"archive")

    assert _upload(cast(ConsoleConnection, Desk()), archive, "", quiet=False) == {"version": "v1"}

    assert capsys.readouterr().err == ""


def test_a_check_of_the_audit_log_says_its_verdict_alone_to_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, log = tmp_path / "audit_public.pem", tmp_path / "audit.jsonl"
    key.write_bytes(public_pem(Ed25519PrivateKey.generate().public_key()))
    log.write_text("{}\n")

    assert main(["audit", "verify", str(log), "--key", str(key)]) == 1

    said = capsys.readouterr()
    assert "Verifying" not in said.out + said.err
    assert said.out + said.err
