"""Certificate and key of the gRPC port: a pair that serves, or a sentence that names the variable."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from cli.layout import Layout
from cli.provision import provision
from gateway.certificates import Certificates, read_pair
from gateway.settings import SettingsWrong


def pair(folder: Path) -> tuple[Path, Path]:
    layout = Layout.of(folder)
    provision(layout)
    return layout.tls / "server.pem", layout.tls / "server.key"


def test_a_pair_is_read_the_key_first(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)

    assert read_pair(certificate, key) == (key.read_bytes(), certificate.read_bytes())


def test_key_and_certificate_may_stand_in_one_file(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())

    assert read_pair(both, both) == (both.read_bytes(), both.read_bytes())


def test_files_that_are_missing_or_garbage_are_named_with_their_variable(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    garbage, missing = tmp_path / "garbage", tmp_path / "nope"
    garbage.write_text("no PEM")

    assert refusal(missing, key) == (
        f"AMULET_TLS_CERT names {missing}, which cannot be read (No such file or directory): "
        "name a PEM file that this gateway may read"
    )
    assert refusal(certificate, tmp_path).startswith(
        f"AMULET_TLS_KEY names {tmp_path}, which cannot be read (Is a directory)"
    )
    assert refusal(garbage, key) == (
        f"AMULET_TLS_CERT names {garbage}, which holds no certificate: name a chain in PEM, the gateway's own first"
    )
    assert refusal(certificate, garbage) == (
        f"AMULET_TLS_KEY names {garbage}, which holds no private key: name one in PEM, without a passphrase"
    )


def test_a_key_under_a_passphrase_is_refused(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    opened = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a passphrase")))

    assert refusal(certificate, key).endswith("which holds no private key: name one in PEM, without a passphrase")


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    certificate, _ = pair(tmp_path / "first")
    _, key = pair(tmp_path / "second")

    assert refusal(certificate, key) == (
        f"AMULET_TLS_KEY names {key}, which is not the key of the first certificate in {certificate} "
        "(AMULET_TLS_CERT): name the two that were issued together"
    )


def test_a_renewal_that_is_half_done_or_gone_wrong_is_logged_once_and_the_old_pair_stays(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path / "first")
    other_certificate, other_key = pair(tmp_path / "second")
    certificates = Certificates(certificate, key)
    certificates.credentials()
    shutil.copy(other_key, key)

    with capture_logs() as logs:
        answers = [certificates._changed(), certificates._changed()]
        key.unlink()
        answers += [certificates._changed(), certificates._changed()]

    assert answers == [None] * 4
    assert [entry["event"] for entry in logs] == ["certificate_not_renewed"] * 2
    shutil.copy(other_key, key)
    shutil.copy(other_certificate, certificate)
    assert certificates._changed() is not None


def refusal(certificate: Path, key: Path) -> str:
    with pytest.raises(SettingsWrong) as wrong:
        Certificates(certificate, key).credentials()
    return str(wrong.value)
