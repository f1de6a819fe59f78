"""What the gateway will not serve, and what each refusal becomes on the wire.

    Refusal
    ├── PhotoRefused: Missing, FormatNotAllowed, Corrupt, TooLarge, TooManyPixels,
    │                 TooSmall, Animated, TooCostly
    ├── RequestRefused: FieldInvalid, TooManyViews, ModelNotFound, VersionNotFound,
    │                   ClassNotFound, PredictionNotFound, IdempotencyConflict
    ├── CallerRefused: KeyMissing, KeyUnknown, KeyRevoked, ModelNotPermitted,
    │                  RateLimited, Overloaded (WatchesTaken)
    └── NotNow: DeadlineExceeded, ModelNotReady, BackendUnavailable, JournalUnavailable,
                ShuttingDown, PolicyMissing

A refusal knows its reason, the field to blame and what would have been right; `STATUS_OF`
and `status_of` are the only places that know gRPC. Anything that is not a Refusal is our
own fault: the door logs it once and the caller gets INTERNAL with a request id.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final, Self

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from protos.amulet.v1 import vocabulary_pb2 as words

DOMAIN: Final = "amulet"
# Waiting this long helps when the refusal does not know better: a worker restarts in
# seconds, and a policy is asked for every two.
RETRY_AFTER_S: Final = 2.0


class Refusal(Exception):
    """Something we will not serve, worded for whoever sent it. Never our own fault."""

    reason: ClassVar[words.Reason.ValueType]

    def __init__(self, message: str, *, field: str = "", wanted: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field  # path of the field to blame, as "views[2].photo"; empty: none
        self.wanted = wanted  # what would have been right; empty where the message says it
        self.retry_after_s = retry_after_s

    def at(self, field: str) -> Refusal:
        """The same refusal, blaming this field."""
        self.field = field
        return self

    @property
    def sentence(self) -> str:
        return f"{self.message}; {self.wanted}" if self.wanted else self.message


class PhotoRefused(Refusal):
    """The photograph cannot be read, or not at a cost that we accept."""


class PhotoMissing(PhotoRefused):
    reason = words.REASON_PHOTO_MISSING


class PhotoFormatNotAllowed(PhotoRefused):
    reason = words.REASON_PHOTO_FORMAT_NOT_ALLOWED


class PhotoCorrupt(PhotoRefused):
    reason = words.REASON_PHOTO_CORRUPT


class PhotoTooLarge(PhotoRefused):
    reason = words.REASON_PHOTO_TOO_LARGE


class PhotoTooManyPixels(PhotoRefused):
    reason = words.REASON_PHOTO_TOO_MANY_PIXELS


class PhotoTooSmall(PhotoRefused):
    reason = words.REASON_PHOTO_TOO_SMALL


class PhotoAnimated(PhotoRefused):
    reason = words.REASON_PHOTO_ANIMATED


class PhotoTooCostly(PhotoRefused):
    reason = words.REASON_PHOTO_TOO_COSTLY


class RequestRefused(Refusal):
    """The request is not of the contract's form, or names something that is not there."""


class FieldInvalid(RequestRefused):
    reason = words.REASON_FIELD_INVALID


class TooManyViews(RequestRefused):
    reason = words.REASON_TOO_MANY_VIEWS


class ModelNotFound(RequestRefused):
    reason = words.REASON_MODEL_NOT_FOUND


class VersionNotFound(RequestRefused):
    reason = words.REASON_VERSION_NOT_FOUND


class ClassNotFound(RequestRefused):
    reason = words.REASON_CLASS_NOT_FOUND


class PredictionNotFound(RequestRefused):
    reason = words.REASON_PREDICTION_NOT_FOUND


class IdempotencyConflict(RequestRefused):
    reason = words.REASON_IDEMPOTENCY_CONFLICT


class CallerRefused(Refusal):
    """Who asks may not, or not as often."""


class KeyMissing(CallerRefused):
    reason = words.REASON_KEY_MISSING


class KeyUnknown(CallerRefused):
    reason = words.REASON_KEY_UNKNOWN


class KeyRevoked(CallerRefused):
    reason = words.REASON_KEY_REVOKED


class ModelNotPermitted(CallerRefused):
    reason = words.REASON_MODEL_NOT_PERMITTED


class RateLimited(CallerRefused):
    reason = words.REASON_RATE_LIMITED


class Overloaded(CallerRefused):
    reason = words.REASON_OVERLOADED

    @classmethod
    def for_now(cls, message: str, *, retry_after_s: float = RETRY_AFTER_S) -> Self:
        """It will pass, in about so many seconds."""
        return cls(message, wanted=f"call again in {retry_after_s:g} s", retry_after_s=retry_after_s)


class WatchesTaken(Overloaded):
    """A watch of `grpc.health.v1` for which there is no place.

    UNIMPLEMENTED to the wire: a channel that asks for health takes that as healthy and goes on (gRFC A17), and
    any other status as a gateway that must not be called.
    """


class NotNow(Refusal):
    """The request may be right; the service cannot answer it at the moment."""


class DeadlineExceeded(NotNow):
    reason = words.REASON_DEADLINE_EXCEEDED


class ModelNotReady(NotNow):
    reason = words.REASON_MODEL_NOT_READY


class BackendUnavailable(NotNow):
    reason = words.REASON_BACKEND_UNAVAILABLE


class JournalUnavailable(NotNow):
    reason = words.REASON_JOURNAL_UNAVAILABLE


class ShuttingDown(NotNow):
    reason = words.REASON_SHUTTING_DOWN


class PolicyMissing(NotNow):
    reason = words.REASON_POLICY_MISSING


# One row per reason. Abstentions travel in OK answers. The gateway never meets an
# archive: those rows say what a gRPC border would answer if one were handed to it.
STATUS_OF: Final[Mapping[words.Reason.ValueType, grpc.StatusCode]] = MappingProxyType(
    {
        words.REASON_UNSPECIFIED: grpc.StatusCode.UNKNOWN,
        words.REASON_NOT_OUR_KIND: grpc.StatusCode.OK,
        words.REASON_UNFAMILIAR: grpc.StatusCode.OK,
        words.REASON_LOW_CONFIDENCE: grpc.StatusCode.OK,
        words.REASON_TOO_CLOSE_TO_CALL: grpc.StatusCode.OK,
        words.REASON_BLURRED: grpc.StatusCode.OK,
        words.REASON_TOO_DARK: grpc.StatusCode.OK,
        words.REASON_TOO_BRIGHT: grpc.StatusCode.OK,
        words.REASON_LOW_CONTRAST: grpc.StatusCode.OK,
        words.REASON_SMALL_SOURCE: grpc.StatusCode.OK,
        words.REASON_VIEWS_DISAGREE: grpc.StatusCode.OK,
        words.REASON_NO_TIME_TO_EXPLAIN: grpc.StatusCode.OK,
        words.REASON_LOOK_ALIKES: grpc.StatusCode.OK,
        words.REASON_PHOTO_MISSING: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_PHOTO_FORMAT_NOT_ALLOWED: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_PHOTO_CORRUPT: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_PHOTO_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_PHOTO_TOO_MANY_PIXELS: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_PHOTO_TOO_SMALL: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_PHOTO_ANIMATED: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_PHOTO_TOO_COSTLY: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_FIELD_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_TOO_MANY_VIEWS: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_MODEL_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        words.REASON_VERSION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        words.REASON_CLASS_NOT_FOUND: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_PREDICTION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        words.REASON_IDEMPOTENCY_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
        words.REASON_KEY_MISSING: grpc.StatusCode.UNAUTHENTICATED,
        words.REASON_KEY_UNKNOWN: grpc.StatusCode.UNAUTHENTICATED,
        words.REASON_KEY_REVOKED: grpc.StatusCode.UNAUTHENTICATED,
        words.REASON_MODEL_NOT_PERMITTED: grpc.StatusCode.PERMISSION_DENIED,
        words.REASON_RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        words.REASON_OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        words.REASON_DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
        words.REASON_MODEL_NOT_READY: grpc.StatusCode.UNAVAILABLE,
        words.REASON_BACKEND_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        words.REASON_JOURNAL_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        words.REASON_SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
        words.REASON_POLICY_MISSING: grpc.StatusCode.UNAVAILABLE,
        words.REASON_ARCHIVE_UNREADABLE: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_PATH_UNSAFE: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_MEMBER_MISSING: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_PICKLE: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_HANDLER_NOT_ALLOWED: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_CARD_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_GRAPH_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_UNSIGNED: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_SIGNATURE_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_SIGNER_NOT_TRUSTED: grpc.StatusCode.PERMISSION_DENIED,
        words.REASON_ARCHIVE_MANIFEST_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_SCANNER: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_SPLIT_LEAKS: grpc.StatusCode.INVALID_ARGUMENT,
        words.REASON_ARCHIVE_DUPLICATE: grpc.StatusCode.ALREADY_EXISTS,
        words.REASON_INTERNAL: grpc.StatusCode.INTERNAL,
    }
)


def code_of(refusal: Refusal) -> int:
    """google.rpc.Code, which shares gRPC's numbers."""
    code = grpc.StatusCode.UNIMPLEMENTED if isinstance(refusal, WatchesTaken) else STATUS_OF[refusal.reason]
    number: int = code.value[0]
    return number


def grpc_code(number: int) -> grpc.StatusCode:
    """gRPC's status of a google.rpc.Code."""
    return _CODES[number]


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def retry_after_s(refusal: Refusal) -> float | None:
    """When asking again may help; None: asking the same again never will."""
    if refusal.retry_after_s is not None:
        return refusal.retry_after_s
    waiting_helps = STATUS_OF[refusal.reason] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    return RETRY_AFTER_S if waiting_helps else None


def duration_of(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def status_of(refusal: Refusal, *, request_id: str, language: str, text: str) -> status_pb2.Status:
    """The refusal with google.rpc details, as `grpc-status-details-bin` carries it.

    text: the reason's sentence in the caller's language, for people; the message is
    English, precise and for whoever mends the caller.
    """
    status = status_pb2.Status(code=code_of(refusal), message=refusal.sentence)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(
            reason=words.Reason.Name(refusal.reason), domain=DOMAIN, metadata={"request_id": request_id}
        )
    )
    if refusal.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=refusal.field, description=refusal.sentence)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    after_s = retry_after_s(refusal)
    if after_s is not None:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration_of(after_s)))
    status.details.add().Pack(error_details_pb2.LocalizedMessage(locale=language, message=text))
    return status


def internal_status(request_id: str) -> status_pb2.Status:
    """Our own fault: the id by which we find it in the log, and nothing else."""
    status = status_pb2.Status(code=code_pb2.INTERNAL, message=f"internal error; quote the request id {request_id}")
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(
            reason=words.Reason.Name(words.REASON_INTERNAL), domain=DOMAIN, metadata={"request_id": request_id}
        )
    )
    return status
