"""One call as it passes through the gateway: who asks, in which language, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from gateway.admission.limits import Hit
from gateway.identity import uuid7
from gateway.snapshot import Client, Key
from gateway.tracing import NO_TRACE, Trace
from gateway.wording import DEFAULT_LANGUAGE


@dataclass(slots=True)
class Call:
    method: str  # "Predict"
    language: str = DEFAULT_LANGUAGE
    key: Key | None = None  # None until the caller is known
    request_id: str = field(default_factory=uuid7)  # ours, for the log and for support
    began_s: float = field(default_factory=monotonic)
    facts: dict[str, str | float | int] = field(default_factory=dict)  # for the log line
    trace: Trace = NO_TRACE
    counted: tuple[Hit, ...] = ()  # against its client's limit
    is_stream: bool = False  # a whole stream; each of its requests is a call as well

    @property
    def owner(self) -> Key:
        """The caller's key. Only behind the door, where it is known."""
        assert self.key is not None
        return self.key

    @property
    def client(self) -> Client:
        return self.owner.client


# Set by the door in the task that then runs the method; gRPC has no other place for it.
current_call: Final[ContextVar[Call]] = ContextVar("current_call")


def metadata_of(pairs: object) -> Mapping[str, str]:
    """Text metadata by name, the last one where a name comes twice."""
    found = {}
    for name, value in pairs or ():  # type: ignore[attr-defined]  # grpc types it as opaque
        if isinstance(value, str):
            found[name] = value
    return found
