"""What gateways send: `POST /internal/events`, an EventBatch, answered by an EventReceipt."""

from __future__ import annotations

import logging
from typing import Final

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_POST
from google.protobuf.message import DecodeError

from console.control import control_token_required
from console.errors import Invalid, TooLarge
from console.ingest.body import read_body
from console.ingest.services import apply_batch
from console.vault.awaited_keys import KeyAwaited
from protos import walk
from protos.amulet.events.v1 import events_pb2 as pb

_log = logging.getLogger(__name__)
CONTENT_TYPE: Final = "application/x-protobuf"
EVENTS_MAX: Final = 10_000
# A gateway's batch has a megabyte, which is no more than 200,000 fields, or one event: a version of 80,000 classes has
# so many. A batch that has more is sent again in halves.
FIELDS_MAX: Final = 250_000
PACKED_BYTES_MAX: Final = 2**20
_ENCODINGS: Final = {"": False, "identity": False, "gzip": True}


@require_POST
@control_token_required
def events(request: HttpRequest) -> HttpResponse:
    """200 with a receipt that accounts for every event; anything else: nothing was applied, send it again."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        return _refusal(415, "encoding_not_read", "Content-Encoding must be gzip, or absent")
    try:
        batch = _batch_of(read_body(request, gzip=_ENCODINGS[encoding]))
    except TooLarge as error:
        return _refusal(413, error.reason, error.message)
    except Invalid as error:
        return _refusal(400, error.reason, error.message)
    except (walk.Malformed, DecodeError):
        return _refusal(400, "invalid", "the body is no amulet.events.v1.EventBatch")
    if len(batch.events) > EVENTS_MAX:
        return _refusal(413, "too_large", f"a batch may have at most {EVENTS_MAX} events")
    try:
        receipt = apply_batch(batch.events)
    except (DatabaseError, OSError) as error:
        _log.error("a batch was not applied and will come again: %s", error)
        return _refusal(503, "not_available", "the database or the object store is away")
    except KeyAwaited as error:  # its log has said so, once
        return _refusal(503, "key_missing", str(error))
    answer = pb.EventReceipt(
        applied=receipt.applied,
        known_before=receipt.known_before,
        rejected=[pb.EventReceipt.Rejected(event_id=event_id, why=why) for event_id, why in receipt.rejected],
    )
    return HttpResponse(answer.SerializeToString(), content_type=CONTENT_TYPE)


def _batch_of(content: bytes) -> pb.EventBatch:
    """Raises TooLarge before anything is made of a batch of too many parts; Malformed, DecodeError."""
    if len(content) > min(2 * FIELDS_MAX, PACKED_BYTES_MAX):  # a field has two bytes at least: the others need no walk
        kind = pb.EventBatch.DESCRIPTOR
        try:
            walk.check(content, kind, fields_max=FIELDS_MAX, packed_bytes_max=PACKED_BYTES_MAX)
        except walk.TooManyFields:
            raise TooLarge(f"a batch may have at most {FIELDS_MAX} fields") from None
        except walk.TooManyNumbers:
            raise TooLarge(f"a batch may have at most {PACKED_BYTES_MAX} bytes of numbers in a row") from None
    return pb.EventBatch.FromString(content)


def _refusal(status: int, reason: str, detail: str) -> HttpResponse:
    return JsonResponse({"reason": reason, "detail": detail}, status=status)
