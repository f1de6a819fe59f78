"""Which photographs may be kept, and keeping them.

A photograph is kept only when its caller wished it, named a consent of this subject, and
that consent was valid when the photograph was taken in and still is now, and the person
has not restricted what is done. Its heat map shares its fate. Everything else leaves
nothing but keyed hashes and numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.conf import settings

from console.ingest.reading import PredictionEvent
from console.vault import queries
from console.vault import services as vault
from console.vault.cipher import Unopenable, load_photo_key, open_photo
from console.vault.models import Consent, Kind, Purpose, Subject
from console.vault.restriction import restricted_among

PHOTO_BYTES_MAX: Final = 8 * 2**20
_PNG: Final = b"\x89PNG\r\n\x1a\n"


class Outcome(StrEnum):
    """What became of one view's photograph."""

    NOT_ASKED = "not_asked"
    KEPT = "kept"
    NO_CONSENT = "no_consent"
    UNREADABLE = "unreadable"
    RESTRICTED = "restricted"  # its person asked that nothing be done


@dataclass(frozen=True, slots=True)
class Retained:
    """What became of one event's photographs, and whose they are."""

    subject: Subject | None
    outcomes: tuple[Outcome, ...]  # one per view
    forgotten: bool = False  # of somebody who was erased since: nothing that the caller named it by is stored


@cache
def photo_key() -> X25519PrivateKey:
    """This process's key for sealed photographs, read once. Raises KeyUnreadable, OSError."""
    return load_photo_key(settings.AMULET.photo_seal_key_file)


def retain(events: Sequence[PredictionEvent], *, at: datetime) -> Mapping[UUID, Retained]:
    """Keep what may be kept of these events, inside the caller's transaction, by prediction id.

    Of somebody who was erased after an event happened, the event leaves a number and no person.
    The consents stay locked until it ends, so that none is withdrawn unnoticed. Raises OSError
    when the store cannot be written: then nothing of the batch is applied, and it comes again
    every few seconds; what was written of it by then is gone.
    """
    erased_at = queries.erased_at({event.pseudonym for event in events if event.pseudonym})
    late = {
        event.prediction_id
        for event in events
        if event.pseudonym in erased_at and event.happened_at <= erased_at[event.pseudonym]
    }
    subjects = vault.subjects_of(
        {event.pseudonym for event in events if event.pseudonym and event.prediction_id not in late}
    )
    references = {event.consent_reference for event in events if _brings_photographs(event)}
    consents = vault.lock_consents(references, purpose=Purpose.KEEP_PHOTOGRAPH, at=at)
    # Asked now that the consents are held: whoever restricts takes them too.
    restricted = restricted_among({consent.subject_id for consent in consents.values()})
    retained: dict[UUID, Retained] = {}

    def wanted() -> Iterator[vault.ToKeep]:
        for event in events:
            if event.prediction_id in late:
                retained[event.prediction_id] = _forget(event)
                continue
            subject, consent = subjects.get(event.pseudonym), consents.get(event.consent_reference)
            retained[event.prediction_id], to_keep = _judge(event, subject, consent, restricted)
            if to_keep is not None:
                yield to_keep

    tried: list[UUID] = []
    try:
        vault.keep(wanted=wanted(), tried=tried)
    except OSError:
        vault.drop_written(tried)
        raise
    return retained


def _brings_photographs(event: PredictionEvent) -> bool:
    return bool(event.consent_reference) and any(view.photo is not None for view in event.sealed)


def _forget(event: PredictionEvent) -> Retained:
    outcomes = [Outcome.NOT_ASKED if view.photo is None else Outcome.NO_CONSENT for view in event.sealed]
    return Retained(None, tuple(outcomes), forgotten=True)


def _judge(
    event: PredictionEvent, subject: Subject | None, consent: Consent | None, restricted: Collection[UUID]
) -> tuple[Retained, vault.ToKeep | None]:
    """What becomes of an event's photographs, and those that are to be kept."""
    if not _brings_photographs(event):
        return Retained(subject, (Outcome.NOT_ASKED,) * len(event.views)), None
    if consent is not None and subject is None:
        subject = consent.subject  # the caller named the consent, and by it the person
    outcomes = [Outcome.NOT_ASKED if view.photo is None else Outcome.NO_CONSENT for view in event.sealed]
    if consent is None or subject is None or not vault.covers(consent, subject=subject, at=event.happened_at):
        return Retained(subject, tuple(outcomes)), None
    if subject.pk in restricted:
        told = [Outcome.NOT_ASKED if view.photo is None else Outcome.RESTRICTED for view in event.sealed]
        return Retained(subject, tuple(told)), None
    objects: list[vault.NewObject] = []
    for view in event.sealed:
        if view.photo is None:
            continue
        try:
            photograph = open_photo(
                photo_key(),
                ephemeral_public_key=view.photo.ephemeral_public_key,
                nonce=view.photo.nonce,
                ciphertext=view.photo.ciphertext,
                prediction_id=str(event.prediction_id),
            )
        except Unopenable:
            photograph = b""
        if not photograph.startswith(_PNG) or len(photograph) > PHOTO_BYTES_MAX:
            outcomes[view.part] = Outcome.UNREADABLE
            continue
        outcomes[view.part] = Outcome.KEPT
        objects.append(vault.NewObject(Kind.PHOTOGRAPH, view.part, photograph))
        if view.heat_map:
            objects.append(vault.NewObject(Kind.HEAT_MAP, view.part, view.heat_map))
    return Retained(subject, tuple(outcomes)), vault.ToKeep(consent, str(event.prediction_id), tuple(objects))
