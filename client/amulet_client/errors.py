"""What a call can end with besides an answer.

AmuletError
├── Refused       the gateway said no, with a reason of amulet.v1.Reason
├── Unreachable   no gateway answered, or not in time
└── ClientClosed  the program closed its own client
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"
_NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)

# gRPC's own words for a call that never had a connection, to one gateway and to several: it has no field for it.
# Tests hold them; where they are others, a call counts as sent, which is the safe side.
_NEVER_SENT = ("failed to connect to all addresses", "connections to all backends failing")


class AmuletError(Exception):
    """A call that brought no answer."""


@dataclass(eq=False)
class Refused(AmuletError):
    """The gateway refused, and said why."""

    message: str  # English, precise; for whoever mends the caller
    reason: str  # a name of amulet.v1.Reason, as "REASON_PHOTO_CORRUPT"
    code: str  # the canonical status, as "INVALID_ARGUMENT"
    field: str = ""  # path of the field to blame, as "views[0].photo"
    retry_after_s: float | None = None  # None: asking the same again never helps
    localized: str = ""  # for people, in the caller's language
    request_id: str = ""

    def __post_init__(self) -> None:
        # What an exception is pickled by: it has to come whole out of another process.
        self.args = tuple(getattr(self, each.name) for each in fields(self))

    def __str__(self) -> str:
        place = f" ({self.field})" if self.field else ""
        return f"{self.message}{place} [{self.reason}]"


class Unreachable(AmuletError):
    """No gateway answered, or none in time."""

    def __init__(self, message: str, *, code: str = "DEADLINE_EXCEEDED", sent: bool = True) -> None:
        """code: the canonical status.  sent: False where nothing of the call can have left: it had no effect."""
        super().__init__(message)
        self.code, self.sent = code, sent


class ClientClosed(AmuletError):
    """The client was closed, before this call or under it. A call under way then may have been made."""

    def __init__(self, message: str = "this client is closed: no call goes through it, and none that waited") -> None:
        super().__init__(message)


class FailedCall(Protocol):
    """What grpc and grpc.aio errors have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...


def error_of(error: FailedCall, trailing: dict[str, str | bytes], address: str) -> AmuletError:
    """The typed error behind a failed call. trailing: the call's trailing metadata."""
    code, message = error.code(), error.details() or ""
    status = status_pb2.Status()
    raw = trailing.get(_DETAILS)
    try:
        status.ParseFromString(raw if isinstance(raw, bytes) else b"")
    except DecodeError:
        status.Clear()
    info, blame, retry, localized = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.LocalizedMessage(),
    )
    for detail in status.details:
        for known in (info, blame, retry, localized):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    if not info.reason:
        if code in _NO_ANSWER:
            return Unreachable(
                f"no answer from the gateway at {address}: {code.name}: {message}",
                code=code.name,
                sent=not (code is grpc.StatusCode.UNAVAILABLE and message.startswith(_NEVER_SENT)),
            )
        return Refused(message=message, reason="REASON_UNSPECIFIED", code=code.name)
    return Refused(
        message=message,
        reason=info.reason,
        code=code.name,
        field=blame.field_violations[0].field if blame.field_violations else "",
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
        localized=localized.message,
        request_id=info.metadata.get("request_id", ""),
    )
