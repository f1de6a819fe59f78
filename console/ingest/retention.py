"""Which photographs may be kept, and keeping them.

A photograph is kept only when its caller wished it, named a consent of this subject, and
that consent was valid when the photograph was taken in and still is now, and the person
has not restricted what is done. Its heat map shares its fate. Everything else leaves
nothing but keyed hashes and numbers.

An event from times to come, of a gateway whose clock was ahead, may have happened at any time before: before a
consent, too, and before an erasure.
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
from console.vault.awaited_keys import KeyAwaited
from console.vault.cipher import Unopenable, load_photo_key, open_photo
from console.vault.models import Consent, Kind, Purpose, StoredObject, Subject
from console.vault.restriction import restricted_among

PHOTO_BYTES_MAX: Final = 8 * 2**20
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PURPOSE: Final = Purpose.KEEP_PHOTOGRAPH


class Outcome(StrEnum):
    """What became of one view's photograph."""

    NOT_ASKED = "not_asked"
    KEPT = "kept"
    NO_CONSENT = "no_consent"
    UNREADABLE = "unreadable"
    RESTRICTED = "restricted"  # its person asked that nothing be done
    NO_KEY = "no_key"  # its person's key does not open here


@dataclass(frozen=True, slots=True)
class Retained:
    """What became of one event's photographs, and whose they are."""

    subject: Subject | None
    outcomes: tuple[Outcome, ...]  # one per view
    forgotten: bool = False  # of somebody who was erased since: nothing that the caller named it by is stored


@dataclass(frozen=True, slots=True)
class Prepared:
    """One event's photographs in the store, whose rows are not saved yet."""

    consent_id: int
    outcomes: tuple[Outcome, ...]  # one per view
    rows: tuple[StoredObject, ...]


@cache
def photo_key() -> X25519PrivateKey:
    """This process's key for sealed photographs, read once. Raises KeyUnreadable, OSError."""
    return load_photo_key(settings.AMULET.photo_seal_key_file)


def prepare(events: Sequence[PredictionEvent], *, at: datetime, tried: list[UUID]) -> Mapping[UUID, Prepared]:
    """Write the photographs that these events bring and consents cover, by event id. Outside any transaction.

    What is written is unreadable until `retain` keeps its rows, which asks again with the consents held.
    tried: as `vault.write` has it. Raises OSError when the store cannot be written, KeyAwaited while a person's key
    does not open that may yet: nothing was written then.
    """
    if not events:
        return {}
    named = queries.consents_named((event.consent_reference for event in events), purpose=_PURPOSE, at=at)
    consents = {consent.reference: consent for consent in named}
    restricted = restricted_among({consent.subject_id for consent in consents.values()})
    covered = [
        (event, consent)
        for event in events
        if (consent := consents.get(event.consent_reference)) is not None
        and _may_be_kept(event, consent.subject, consent, restricted, at) is Outcome.KEPT
    ]
    closed = _closed(covered)
    opened: list[tuple[PredictionEvent, Consent, tuple[Outcome, ...]]] = []

    def wanted() -> Iterator[vault.ToKeep]:
        for event, consent in covered:
            if event.event_id in closed:
                continue
            objects, outcomes = _opened(event)
            opened.append((event, consent, outcomes))
            yield vault.ToKeep(consent, str(event.prediction_id), objects)

    written = vault.write(wanted=wanted(), tried=tried)
    prepared = {
        event.event_id: Prepared(consent.pk, _all(event, Outcome.NO_KEY), ())
        for event, consent in covered
        if event.event_id in closed
    }
    return prepared | {
        event.event_id: Prepared(consent.pk, outcomes, tuple(rows))
        for (event, consent, outcomes), rows in zip(opened, written, strict=True)
    }


def _closed(covered: Sequence[tuple[PredictionEvent, Consent]]) -> frozenset[UUID]:
    """The events of people whose key does not open. Raises KeyAwaited once all were tried: several missing keys are
    waited for at once, and of a batch that is to come again nothing is written.
    """
    found: set[UUID] = set()
    awaited: KeyAwaited | None = None
    for event, consent in covered:
        try:
            if not queries.opens(consent.subject):
                found.add(event.event_id)
        except KeyAwaited as error:
            awaited = error
    if awaited is not None:
        raise awaited
    return frozenset(found)


def retain(
    events: Sequence[PredictionEvent], *, at: datetime, prepared: Mapping[UUID, Prepared]
) -> Mapping[UUID, Retained]:
    """Keep what may be kept of these events, inside the caller's transaction, by prediction id.

    Of somebody who was erased after an event happened, the event leaves a number and no person.
    The consents stay locked until it ends, so that none is withdrawn unnoticed.
    """
    late = _from_before_an_erasure([event for event in events if event.pseudonym], at)
    vault.remember_erased_predictions(late)
    subjects = vault.subjects_of(
        {event.pseudonym for event in events if event.pseudonym and event.prediction_id not in late}
    )
    references = {event.consent_reference for event in events if brings_photographs(event)}
    consents = vault.lock_consents(references, purpose=_PURPOSE, at=at)
    # Asked now that the consents are held: whoever restricts takes them too.
    restricted = restricted_among({consent.subject_id for consent in consents.values()})
    retained: dict[UUID, Retained] = {}
    rows: list[StoredObject] = []
    for event in events:
        if event.prediction_id in late:
            retained[event.prediction_id] = _forget(event)
            continue
        subject, consent = subjects.get(event.pseudonym), consents.get(event.consent_reference)
        if subject is None and consent is not None and brings_photographs(event):
            subject = consent.subject  # the caller named the consent, and by it the person
        outcome = _may_be_kept(event, subject, consent, restricted, at)
        written = prepared.get(event.event_id)
        if outcome is not Outcome.KEPT:
            retained[event.prediction_id] = Retained(subject, _all(event, outcome))
        elif written is None or consent is None or written.consent_id != consent.pk:
            # Agreed to since `prepare` looked, so not when the photograph came.
            retained[event.prediction_id] = Retained(subject, _all(event, Outcome.NO_CONSENT))
        else:
            retained[event.prediction_id] = Retained(subject, written.outcomes)
            rows += written.rows
    vault.keep(rows)
    return retained


def _from_before_an_erasure(events: Sequence[PredictionEvent], at: datetime) -> frozenset[UUID]:
    """The predictions of those that may be from before an erasure of their person.

    One from before every erasure that is still known is, unless its person was here then and is still.
    """
    erased_at = queries.erased_at({event.pseudonym for event in events})
    old = {event.pseudonym for event in events if vault.is_beyond_memory(event.happened_at, at)}
    since = queries.known_since(old)

    def is_late(event: PredictionEvent) -> bool:
        if event.pseudonym in erased_at:
            return vault.may_precede(event.happened_at, erased_at[event.pseudonym]) or _is_to_come(event, at)
        if not vault.is_beyond_memory(event.happened_at, at):
            return False
        return event.pseudonym not in since or vault.may_precede(event.happened_at, since[event.pseudonym])

    return frozenset(event.prediction_id for event in events if is_late(event))


def _may_be_kept(
    event: PredictionEvent,
    subject: Subject | None,
    consent: Consent | None,
    restricted: Collection[UUID],
    at: datetime,
) -> Outcome:
    if not brings_photographs(event):
        return Outcome.NOT_ASKED
    if consent is None or subject is None or not vault.covers(consent, subject=subject, at=event.happened_at):
        return Outcome.NO_CONSENT
    if _is_to_come(event, at):
        return Outcome.NO_CONSENT
    return Outcome.RESTRICTED if subject.pk in restricted else Outcome.KEPT


def _is_to_come(event: PredictionEvent, at: datetime) -> bool:
    """Whether it says that it happened later than now, by more than clocks of two machines differ."""
    return event.happened_at > at + vault.CLOCKS_DIFFER_MAX


def brings_photographs(event: PredictionEvent) -> bool:
    return bool(event.consent_reference) and any(view.photo is not None for view in event.sealed)


def _forget(event: PredictionEvent) -> Retained:
    return Retained(None, _all(event, Outcome.NO_CONSENT), forgotten=True)


def _all(event: PredictionEvent, outcome: Outcome) -> tuple[Outcome, ...]:
    """One outcome for every view of which there is a photograph."""
    return tuple(Outcome.NOT_ASKED if view.photo is None else outcome for view in event.sealed)


def _opened(event: PredictionEvent) -> tuple[tuple[vault.NewObject, ...], tuple[Outcome, ...]]:
    """An event's photographs with their heat maps, and what becomes of each view."""
    objects: list[vault.NewObject] = []
    outcomes = [Outcome.NOT_ASKED] * len(event.sealed)
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
    return tuple(objects), tuple(outcomes)
