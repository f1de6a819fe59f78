"""How a client connects: address, trust, key, language, deadlines and retries."""

from __future__ import annotations

import json
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
        """None for plain text. Raises OSError when the authority's file cannot be read."""
        if self.plaintext:
            return None
        return grpc.ssl_channel_credentials(self.ca_file.read_bytes() if self.ca_file else None)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-api-key", self.api_key), ("accept-language", self.language), *_trace())


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
