"""`amulet predict` and a gateway that cannot be spoken to: the one sentence says what to change."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cli.layout import HOST, Layout
from cli.main import main
from cli.predict import in_plain_text
from cli.provision import provision
from cli.remote import told
from cli.report import _health
from console.site.configuration import ConfigurationWrong, load
from gateway.settings import SettingsWrong, read_settings


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A stack's folder with its own authority, and a key that is never shown to a right server."""
    found = Layout.of(tmp_path / "state")
    provision(found)
    monkeypatch.setenv("AMULET_API_KEY", "amk_0_x")
    monkeypatch.setenv("AMULET_STATE_DIR", str(found.state))
    for name in ("AMULET_TLS_CA", "AMULET_INSECURE", "AMULET_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    return found


@contextmanager
def gateway(layout: Layout, *, tls: bool) -> Iterator[str]:
    """A gRPC server with the stack's certificate, or in plain text; its address."""
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    if tls:
        pair = ((layout.tls / "server.key").read_bytes(), (layout.tls / "server.pem").read_bytes())
        port = server.add_secure_port(f"{HOST}:0", grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    try:
        yield f"{HOST}:{port}"
    finally:
        server.stop(None).wait()


def said(photo: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The error of `amulet predict` for two photographs: told once, not once a photograph."""
    photo.write_bytes(b"a photograph")
    assert main(["predict", str(photo), str(photo)]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    return error


def test_nobody_listens(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server((HOST, 0)) as closed:
        monkeypatch.setenv("AMULET_GATEWAY", f"{HOST}:{closed.getsockname()[1]}")

    assert "nothing listens there (`amulet status` says what runs)" in said(tmp_path / "a.jpg", capsys)


def test_an_authority_that_did_not_sign_the_servers_certificate(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Layout.of(tmp_path / "other")
    provision(other)
    monkeypatch.setenv("AMULET_TLS_CA", str(other.tls / "ca.pem"))
    with gateway(layout, tls=True) as address:
        monkeypatch.setenv("AMULET_GATEWAY", address)
        error = said(tmp_path / "a.jpg", capsys)

    assert f"shows a certificate that {other.tls / 'ca.pem'} has not signed" in error


@pytest.mark.parametrize("tls", [True, False])
def test_tls_on_one_side_only(
    layout: Layout, tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if tls:
        monkeypatch.setenv("AMULET_INSECURE", "1")
    with gateway(layout, tls=tls) as address:
        monkeypatch.setenv("AMULET_GATEWAY", address)
        error = said(tmp_path / "a.jpg", capsys)

    assert "TLS" in error
    assert "plain text" in error


@pytest.mark.parametrize("word", ["maybe", "2", "insecure"])
def test_a_word_that_is_no_switch_is_refused_and_not_taken_for_no(
    layout: Layout, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMULET_INSECURE", word)

    assert f"AMULET_INSECURE is '{word}': wanted 1, true, yes or on" in said(tmp_path / "a.jpg", capsys)
    with pytest.raises(SettingsWrong, match=f"AMULET_INSECURE is '{word}'"):
        read_settings(os.environ)
    with pytest.raises(ConfigurationWrong, match=f"AMULET_INSECURE is '{word}'"):
        load()


@pytest.mark.parametrize("wanted", [True, False])
def test_plain_text_is_asked_for_in_the_same_words_by_every_process(
    layout: Layout, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMULET_TLS_CERT", str(layout.tls / "server.pem"))
    monkeypatch.setenv("AMULET_TLS_KEY", str(layout.tls / "server.key"))

    for word in ("1", "true", "True", "yes", "on", "ON", "y", "t") if wanted else ("", "0", "false", "no", "Off", "n"):
        monkeypatch.setenv("AMULET_INSECURE", word)
        assert in_plain_text() is wanted, word
        assert read_settings(os.environ).insecure is wanted, word
        assert load().insecure is wanted, word


def test_an_authority_that_is_none_or_expired(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "authority.pem"
    monkeypatch.setenv("AMULET_TLS_CA", str(path))
    path.write_text("no certificate")
    assert f"{path} holds no certificate (PEM)" in said(tmp_path / "a.jpg", capsys)

    path.write_bytes(_expired())
    error = said(tmp_path / "a.jpg", capsys)
    assert f"the authority {path} expired on 20" in error
    assert "`amulet up`" in error


def test_an_address_that_is_none(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMULET_GATEWAY", "no-such-host.invalid:7443")

    assert "AMULET_GATEWAY has the form HOST:PORT" in said(tmp_path / "a.jpg", capsys)


def test_a_version_shows_first_what_stands_in_its_way_and_names_its_data_once() -> None:
    lines = list(
        told(
            {
                "model": "tablets",
                "version": "v1",
                "state": "refused",
                "rules": [
                    {"rule": "size", "state": "passed", "message": "12 bytes"},
                    {"rule": "signature", "state": "failed", "message": "no trusted key signed it"},
                    {"rule": "form", "state": "not_run", "message": "an earlier rule failed"},
                ],
                "metrics": [
                    {"name": name, "value": 0.9, "low": 0.8, "high": 1.0, "data": "192 photographs"}
                    for name in ("accuracy", "balanced_accuracy_calibrated")
                ],
            }
        )
    )

    assert lines[1:] == [
        "  refused by signature: no trusted key signed it",
        "  on 192 photographs",
        "    accuracy                       0.900  [0.800, 1.000]",
        "    balanced_accuracy_calibrated   0.900  [0.800, 1.000]",
    ]


def _expired() -> bytes:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=9)).not_valid_after(now - timedelta(days=1))
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_health_page_of_this_machine_is_asked_without_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"not_ready": {}}')

    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "socks5://proxy.invalid:1080")
    with HTTPServer((HOST, 0), Page) as server:
        Thread(target=server.handle_request).start()
        assert _health(f"http://{HOST}:{server.server_port}/readyz") == {"not_ready": {}}
