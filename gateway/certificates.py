"""The certificate of the gRPC port, read again when it changes: connections see the new one, calls see nothing."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import structlog

_log = structlog.get_logger(__name__)


class Certificates:
    """Called by gRPC, from its own threads, at every handshake."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._seen: tuple[tuple[int, int], ...] = ()

    def credentials(self) -> grpc.ServerCredentials:
        """TLS 1.2 and 1.3, no client certificates. Raises OSError when a file cannot be read."""
        first = self._read()
        return grpc.dynamic_ssl_server_credentials(
            first,
            self._changed,  # type: ignore[arg-type]  # the stubs miss that None means "no change"
            require_client_authentication=False,
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        self._seen = self._state()
        return grpc.ssl_server_certificate_configuration([(self._key.read_bytes(), self._certificate.read_bytes())])

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new pair, or None to stay with the one in use."""
        try:
            if self._state() == self._seen:
                return None
            return self._read()
        except OSError as error:
            _log.warning("certificate_not_renewed", why=str(error))
            return None

    def _state(self) -> tuple[tuple[int, int], ...]:
        return tuple((found.st_mtime_ns, found.st_ino) for found in map(os.stat, (self._certificate, self._key)))
