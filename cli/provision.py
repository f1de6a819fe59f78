"""The first set-up of a stack's folder: directories, secrets, a development certificate.

Everything here is made once and kept: a second call changes nothing but a certificate that
is about to expire. Files that hold secrets are created with mode 0600 in a folder with mode
0700 and never overwritten.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cli.layout import Layout

CERTIFICATE_LIFE: Final = timedelta(days=365)
RENEW_BEFORE: Final = timedelta(days=30)


def provision(layout: Layout) -> None:
    """Make what a stack needs before its first process starts. Raises OSError when it cannot write."""
    for folder in (layout.state, layout.secrets, layout.torchserve):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    for folder in (
        layout.tls,
        layout.models,
        layout.state / "staging",
        layout.gateway / "journal",
        layout.console / "broker",
        layout.console / "objects",
        layout.trusted,
        layout.checkpoints,
        layout.logs,
    ):
        # Not as the shell's umask has it: where a group may write to the model store, TorchServe's launcher refuses it.
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in ("control_token", "key_secret", "input_hash_secret", "django_secret"):
        write_once(layout.secrets / name, secrets.token_urlsafe(48).encode())
    write_once(layout.secrets / "vault.key", secrets.token_bytes(32))
    write_once(layout.secrets / "photo_seal.key", X25519PrivateKey.generate().private_bytes_raw())
    audit_key = Ed25519PrivateKey.generate()
    audit_public = layout.checkpoints / "audit_public.pem"
    if write_once(layout.secrets / "audit_signing.key", _pem_private(audit_key)):
        write_once(audit_public, _pem_public(audit_key), mode=0o644)
    _development_certificate(layout.tls)


def write_once(path: Path, content: bytes, *, mode: int = 0o600) -> bool:
    """Create `path` durably unless it exists; say whether it was created. Raises as `write_whole`."""
    if path.exists():
        return False
    write_whole(path, content, mode=mode)
    return True


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """The content durably in place of what was there. Raises OSError that names the path, and then it is as it was.

    A crash leaves what was there or the whole new file, never a part.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def _development_certificate(folder: Path) -> None:
    """A small authority of this stack alone, and a certificate for loopback signed by it."""
    certificate, key, authority = folder / "server.pem", folder / "server.key", folder / "ca.pem"
    if certificate.exists() and key.exists() and authority.exists():
        expires_at = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
        if expires_at - datetime.now(UTC) > RENEW_BEFORE:
            return
    for stale in (certificate, key, authority):
        stale.unlink(missing_ok=True)
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Amulet development authority")])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)

    def signed(
        subject: x509.Name, public: ec.EllipticCurvePublicKey, extensions: list[tuple[x509.ExtensionType, bool]]
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + CERTIFICATE_LIFE)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca_extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False),
    ]
    loopback = [
        x509.DNSName("localhost"),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")),
    ]
    server_extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName(loopback), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]
    write_once(authority, signed(ca_name, ca_key.public_key(), ca_extensions), mode=0o644)
    write_once(certificate, signed(server_name, server_key.public_key(), server_extensions), mode=0o644)
    write_once(key, _pem_private(server_key))


def _pem_private(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
