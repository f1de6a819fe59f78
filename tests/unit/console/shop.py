"""A shop whose owner agreed to photographs being kept, and what it sent in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.utils.timezone import now

from console.ingest.retention import photo_key
from console.ingest.services import apply_batch
from console.review.models import ReviewItem
from console.review.services import NOT_YET
from console.site.roles import Role
from console.vault.models import Consent
from console.vault.services import give_consent
from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import kept_event
from tests.unit.console.people import member

OWNER: Final = "shop-17"
REFERENCE: Final = "c-1"


def agreed(*, ago: timedelta = timedelta(hours=1)) -> Consent:
    """The owner agrees to photographs being kept; a privacy officer writes it down."""
    return give_consent(
        actor=member(Role.PRIVACY_OFFICER),
        pseudonym=OWNER,
        reference=REFERENCE,
        purpose="keep_photograph",
        text_version="1",
        channel="web",
        given_at=now() - ago,
    )


def sent(**changes: Any) -> pb.Event:
    """An answer whose photograph and heat map are to be kept, on its way to the console."""
    return kept_event(**{"pseudonym": OWNER, "consent": REFERENCE, "recipient": photo_key().public_key(), **changes})


def kept(**changes: Any) -> pb.Event:
    """The same, arrived."""
    event = sent(**changes)
    assert apply_batch([event]).applied == 1
    return event


def queued(*, blind: bool = False, opinions: int = 1, **changes: Any) -> ReviewItem:
    """An answer that waits for an expert, with its photograph."""
    event = kept(**{"confidence": 0.5, **changes})
    rows = ReviewItem.objects.filter(prediction=event.prediction.prediction_id)
    rows.update(blind=blind, withheld_until=NOT_YET if blind else None, opinions_wanted=opinions)
    return rows.get()
