"""The certificate of the gRPC port, read again when it changes: connections see the new one, calls see nothing."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from gateway.settings import SettingsWrong

_log = structlog.get_logger(__name__)


class Certificates:
    """Called by gRPC, from its own threads, at every handshake."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._seen: tuple[tuple[int, int], ...] = ()

    def credentials(self) -> grpc.ServerCredentials:
        """TLS 1.2 and 1.3, no client certificates. Raises SettingsWrong when the two do not serve."""
        first = self._read()
        return grpc.dynamic_ssl_server_credentials(
            first,
            self._changed,  # type: ignore[arg-type]  # the stubs miss that None means "no change"
            require_client_authentication=False,
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        self._seen = self._state()
        return grpc.ssl_server_certificate_configuration([read_pair(self._certificate, self._key)])

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new pair, or None to stay with the one in use."""
        try:
            if self._state() == self._seen:
                return None
            return self._read()
        except SettingsWrong as error:
            _log.warning("certificate_not_renewed", why=str(error))
            return None

    def _state(self) -> tuple[tuple[int, int], ...]:
        """What tells a pair from the one before; empty where a file is missing, of which reading it tells."""
        try:
            return tuple((found.st_mtime_ns, found.st_ino) for found in map(os.stat, (self._certificate, self._key)))
        except OSError:
            return ()


def read_pair(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """Both files, the key first, as gRPC takes them. Raises SettingsWrong when they are no pair.

    gRPC itself takes whatever bytes it is given and then says of the port that it cannot be listened on.
    """
    chain = _content("AMULET_TLS_CERT", certificate)
    private = _content("AMULET_TLS_KEY", key)
    try:
        certified = x509.load_pem_x509_certificates(chain)[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsWrong(
            f"AMULET_TLS_CERT names {certificate}, which holds no certificate: "
            "name a chain in PEM, the gateway's own first"
        ) from None
    try:
        own = load_pem_private_key(private, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is under a passphrase
        raise SettingsWrong(
            f"AMULET_TLS_KEY names {key}, which holds no private key: name one in PEM, without a passphrase"
        ) from None
    if _bytes_of(own) != _bytes_of(certified):
        raise SettingsWrong(
            f"AMULET_TLS_KEY names {key}, which is not the key of the first certificate in {certificate} "
            "(AMULET_TLS_CERT): name the two that were issued together"
        )
    return private, chain


def _content(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsWrong(
            f"{variable} names {path}, which cannot be read ({error.strerror}): "
            "name a PEM file that this gateway may read"
        ) from None


def _bytes_of(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
