"""Photographs of consenting people that an expert has labelled, for tests of what is built on labels."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.utils.timezone import now

from console.ingest.retention import photo_key
from console.ingest.services import apply_batch
from console.review import services as review
from console.review.models import Decided, ExpertDecision, ReviewItem
from console.review.services import Decision
from console.staff.models import User
from console.vault import services as vault
from tests.console_events import kept_event

MODEL = "amulets"


def consenting(officer: User, person: str, *, training: bool = True) -> None:
    """A person who lets photographs be kept under `keep-PERSON`, and learnt from under `train-PERSON`."""
    given = {"actor": officer, "pseudonym": person, "text_version": "2", "channel": "web"}
    hour_ago = now() - timedelta(hours=1)
    vault.give_consent(purpose="keep_photograph", reference=f"keep-{person}", given_at=hour_ago, **given)  # type: ignore[arg-type]
    if training:
        vault.give_consent(purpose="training", reference=f"train-{person}", given_at=hour_ago, **given)  # type: ignore[arg-type]


def labelled(
    expert: User, person: str, decision: Decision, *, photo: bytes | None = None, settled: bool = True
) -> UUID:
    """A kept photograph of that person with an expert's decision, which can be taken back no more. Its prediction."""
    event = kept_event(
        pseudonym=person,
        consent=f"keep-{person}",
        recipient=photo_key().public_key(),
        photo=photo,
        confidence=0.5,
        model=MODEL,
    )
    assert apply_batch([event]).applied == 1
    key = UUID(event.prediction.prediction_id)
    item = ReviewItem.objects.get(prediction=key)
    review.take(actor=expert, item_id=item.pk)
    made = review.decide(actor=expert, item_id=item.pk, decision=decision)
    if settled:
        ExpertDecision.objects.filter(pk=made.pk).update(decided_at=now() - timedelta(hours=1))
    return key


def is_a(class_id: str) -> Decision:
    return Decision(Decided.CLASS, class_id)
