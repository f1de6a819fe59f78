"""How a client connects: address, trust, key, language, deadlines and retries."""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from amulet_client.errors import AmuletError, Refused

try:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # whoever traces has it; nobody else needs it
    TraceContextTextMapPropagator = None  # type: ignore[assignment,misc]

# What a gateway takes in one message. A larger one ends the call, and a stream with all that is in it.
PHOTOS_BYTES_MAX: Final = 8 * 20 * 2**20  # of one request
MESSAGE_BYTES_MAX: Final = PHOTOS_BYTES_MAX + 2**20  # with the rest of the request
_LOOPBACK: Final = ("127.0.0.1:", "localhost:", "[::1]:")
_WEB: Final = ("https://", "http://")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:(?!\d+$)")  # "dns:///host:port", "ipv4:10.0.0.7:7443"; not "host:port"
_LITERAL: Final = ("ipv4:", "ipv6:")  # gRPC's own writing of addresses, with commas between them

TRIES_MAX: Final = 4
BACKOFF_S: Final = 0.2
BACKOFF_FACTOR: Final = 2.5
BACKOFF_S_MAX: Final = 3.0

# gRPC tries again on its own what may happen twice: readings, and feedback, since each carries a key under which it
# counts once. UNAVAILABLE is no promise that nothing happened: a connection that breaks under a call says the same. So
# predictions are not among them: see `repeating`. RESOURCE_EXHAUSTED carries its own waiting time, which a service
# config cannot read: see ConnectionOptions.wait_s.
SERVICE_CONFIG: Final[dict[str, Any]] = {
    "methodConfig": [
        {
            "name": [
                {"service": "amulet.v1.PredictionService", "method": method}
                for method in ("ListModels", "GetModel", "SubmitFeedback")
            ],
            "retryPolicy": {
                "maxAttempts": TRIES_MAX,
                "initialBackoff": f"{BACKOFF_S}s",
                "maxBackoff": f"{BACKOFF_S_MAX}s",
                "backoffMultiplier": BACKOFF_FACTOR,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
# Where an address stands for several gateways: each call goes to the next that is ready. One that is not tells the
# channel so by `grpc.health.v1`, and one that has no place for that watch is called (gRFC A17).
SHARING: Final[dict[str, Any]] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "amulet.v1.PredictionService"},
}


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Where and how to connect. Raises ValueError on plain text beyond loopback, and for what no header can hold."""

    address: str  # host:port, or as gRPC writes targets: "dns:///host:port", "ipv4:10.0.0.7:7443,10.0.0.8:7443"
    api_key: str = field(repr=False)
    ca_file: Path | None = None  # the authority that signed the gateway's certificate; None: the system's
    plaintext: bool = False  # loopback only
    language: str = "en"
    timeout_s: float = 30.0  # of a call, with the attempts that follow one another at once
    wait_s_max: float = 0.0  # in all, before attempts that a busy gateway asked to make later; 0: none are made
    share_calls: bool = False  # the address stands for several gateways: calls go in turn to those that are ready

    def __post_init__(self) -> None:
        self._check_address()
        if self.plaintext and not self._is_loopback():
            raise ValueError(f"plain text is for loopback only, and {self.address} is not: give a ca_file instead")
        for what, text in (("the API key", self.api_key), ("language", self.language)):
            # gRPC would refuse it at each call, in its own words; and a key is told to nobody.
            if not (text.isascii() and text.isprintable()):
                raise ValueError(f"{what} holds a character that cannot be sent: a line break at its end, perhaps")
        if self.timeout_s <= 0:
            raise ValueError(f"timeout_s must be above 0, not {self.timeout_s}")
        if not 0 <= self.wait_s_max < float("inf"):
            raise ValueError(f"wait_s_max must be a number of seconds from 0, not {self.wait_s_max}")

    def _check_address(self) -> None:
        """gRPC would look for a machine called "https", and for port 34463 where 99999 is written."""
        how = "write HOST:PORT, as in gateway.example:7443"
        if self.address.startswith(_WEB):
            raise ValueError(f"{self.address} is the address of a page and not of a gateway: {how}")
        host, colon, port = self.address.rpartition(":")
        is_plain = not _SCHEME.match(self.address) and (":" not in host or host.endswith("]"))
        if is_plain and (not colon or not host) and self.plaintext:
            raise ValueError(f"{self.address!r} names no port: {how}")
        if is_plain and colon and not (port.isdecimal() and 0 < int(port) < 2**16):
            raise ValueError(f"{self.address} has no port that there can be, 1 to 65535: {how}")

    def _is_loopback(self) -> bool:
        """Whether every address is."""
        scheme = next(filter(self.address.startswith, _LITERAL), "")
        addresses = self.address.removeprefix(scheme).split(",") if scheme else [self.address]
        return all(address.startswith(_LOOPBACK) for address in addresses)

    def wait_s(self, error: AmuletError, waited_s: float) -> float | None:
        """How long to wait before asking the same again; None: the error is the answer.

        Only what the gateway refused for now, and said for how long, is asked again: it had
        no effect. A wait that would pass `wait_s_max` is not begun.
        """
        if not isinstance(error, Refused) or error.retry_after_s is None:
            return None
        return error.retry_after_s if waited_s + error.retry_after_s <= self.wait_s_max else None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None for plain text. Raises OSError when the authority's file cannot be read, ValueError when it is none."""
        if self.plaintext:
            return None
        return grpc.ssl_channel_credentials(_authority(self.ca_file) if self.ca_file else None)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-api-key", self.api_key), ("accept-language", self.language), *_trace())


def _authority(file: Path) -> bytes:
    """Certificates. Of a file without gRPC says that no gateway answers, or takes the system's where it is empty."""
    content = file.read_bytes()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise ValueError(f"{file} holds no certificate: name the PEM file of who signed the gateway's") from None
    return content


def _trace() -> tuple[tuple[str, str], ...]:
    """The caller's own span, so that the gateway's stand below it (W3C Trace Context); nothing else of its context."""
    if TraceContextTextMapPropagator is None:
        return ()
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return tuple((name, value) for name, value in carrier.items() if name == "traceparent")


def channel_options(options: ConnectionOptions) -> list[tuple[str, Any]]:
    return [
        # A proxy that the environment names (http_proxy) would be shown the key, and could not reach our loopback.
        *([("grpc.enable_http_proxy", 0)] if options.plaintext else []),
        ("grpc.service_config", json.dumps(SERVICE_CONFIG | SHARING if options.share_calls else SERVICE_CONFIG)),
        ("grpc.enable_retries", 1),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.keepalive_time_ms", 60_000),
        # A gateway that restarts is back in seconds; gRPC's own waits grow to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
