"""A person with something in every store, under names that are found again wherever they are left."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from django.apps import apps

from console.ingest.retention import photo_key
from console.ingest.services import apply_batch
from console.privacy import services
from console.privacy.models import PrivacyRequest
from console.review.models import Decided, ReviewItem
from console.review.services import Decision, decide, take
from console.staff.models import User
from console.vault import services as vault
from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import prediction_pb2
from tests.console_events import feedback_event, kept_event, prediction_event

CANARY = "canary-"
PERSON = f"{CANARY}person-7701"
CONSENT = f"{CANARY}consent-7701"
CALL = f"{CANARY}call-7701"
COMMENT = f"{CANARY}comment-7701"
NOTE = f"{CANARY}note-7701"


@dataclass(frozen=True, slots=True)
class Planted:
    subject_id: UUID
    prediction_ids: tuple[UUID, ...]


def plant(officer: User, expert: User, *, photographs: int = 3, person: str = PERSON, tag: str = "") -> Planted:
    """Consents, photographs, heat maps, predictions, a review with a note, feedback with a comment, audit entries."""
    subject = vault.subjects_of({person})[person]
    vault.give_consent(
        actor=officer, pseudonym=person, purpose="keep_photograph", text_version="1", channel="web",
        reference=CONSENT + tag,
    )  # fmt: skip
    recipient = photo_key().public_key()
    events = [
        kept_event(pseudonym=person, consent=CONSENT + tag, recipient=recipient, request_id=CALL + tag, confidence=0.5)
        for _ in range(photographs)
    ]
    events.append(prediction_event(subject=pb.Subject(pseudonym=person), request_id=CALL + tag))
    comment = feedback_event(events[0].prediction.prediction_id, comment=COMMENT + tag)
    receipt = apply_batch([*events, comment])
    assert receipt.applied == len(events) + 1, receipt
    item = ReviewItem.objects.get(prediction=UUID(events[0].prediction.prediction_id))
    take(actor=expert, item_id=item.pk)
    decide(actor=expert, item_id=item.pk, decision=Decision(Decided.UNSURE, note=NOTE + tag))
    return Planted(subject.pk, tuple(UUID(event.prediction.prediction_id) for event in events))


def ask_erasure(officer: User, person: str = PERSON) -> PrivacyRequest:
    """A request for erasure that is in progress: a worker may take it up."""
    request = services.receive(actor=officer, pseudonym=person, kind="erasure", laws="both", channel="letter")
    services.check_identity(actor=officer, request_id=request.pk, method="card at the counter")
    return services.start(actor=officer, request_id=request.pk)


def late_event() -> pb.Event:
    """An event of that person from before the erasure that a gateway delivers only now."""
    return prediction_event(
        subject=pb.Subject(pseudonym=PERSON, consent_reference=CONSENT, retention=prediction_pb2.RETENTION_KEEP),
        request_id=CALL,
    )


def everything() -> str:
    """Every row of every table, as text: what a canary is looked for in."""
    rows = [list(model._default_manager.values()) for model in apps.get_models()]
    return repr(rows)


def recipient() -> X25519PublicKey:
    """The key that gateways seal photographs for."""
    return photo_key().public_key()
