"""The doors through which what is kept is opened, each with an audit entry that somebody saw it.

A reviewer opens one object, a person is handed all that is theirs, and photographs leave for training
under a second consent. Nothing else reads what is in the store.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db import transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.services import NewEntry, append, record
from console.errors import NotAvailable, NotFound
from console.staff.models import User
from console.staff.services import require
from console.vault import cipher, queries
from console.vault.models import Consent, Kind, Purpose, StoredObject, Subject
from console.vault.restriction import restricted_among

_log = logging.getLogger(__name__)
_OPENED_AT_ONCE: Final = 50  # photographs are some 100 KB each
_NAMES_AT_ONCE: Final = 500
_CANNOT_BE_READ: Final = "a kept object cannot be read"


@dataclass(frozen=True, slots=True)
class HandedOut:
    """Something that is kept of a person, for that person."""

    kind: Kind
    owner: str  # the prediction that it is of
    part: int
    content: bytes | None = field(repr=False)  # in the clear; None: its file is damaged


@dataclass(frozen=True, slots=True)
class PhotographForTraining:
    """A kept photograph in the clear, and the consent under which it may be learnt from."""

    owner: str
    part: int
    content: bytes = field(repr=False)
    consent: Consent


def open_kept(*, actor: User, kind: Kind, owner: str, part: int) -> bytes:
    """What is kept, in the clear, and an audit entry that this person saw it.

    Raises NotAllowed; NotFound when it is not kept, no consent covers it any more, its person restricted it, or it
    does not open ("unreadable"); NotAvailable when the store is away.
    """
    require(actor, "vault.open_storedobject")
    missing = NotFound(_("Nothing is kept here, or not any more."), reason="not_kept")
    row = StoredObject.objects.select_related("subject", "consent").filter(owner=owner, kind=kind, part=part).first()
    if row is None or not _is_kept(row) or _has_run_out(row):
        raise missing
    if row.subject.restricted_at:
        raise NotFound(_("This person has restricted what is kept: nothing of it is opened."), reason="restricted")
    try:
        content = _opened(row)
    except FileNotFoundError:
        raise missing from None
    except cipher.Unopenable as error:
        _log.error(_CANNOT_BE_READ, extra={"object": str(row.pk), "error": str(error)})
        raise NotFound(
            _("What is kept here cannot be read: its file was changed or cut off."), reason="unreadable"
        ) from None
    with transaction.atomic():
        held = _held([row]).get(row.pk)
        if held is None or not _is_kept(held) or held.subject.restricted_at:
            raise missing
        record(
            actor=actor,
            action="vault.opened",
            subject_type="prediction",
            subject_id=owner,
            details={"kind": str(kind), "part": part},
        )
    return content


def open_for_the_person(*, actor: User, subject_id: UUID) -> Iterator[HandedOut]:
    """All that is kept of a person, to hand it out to them, by owner, kind and part; each has an audit entry by then.

    A restriction does not stop that, and what it holds beyond the consent's end is handed out too: it is still theirs.
    Some fifty at once are read and in memory, for a few statements however many predictions they are of; what a
    consent that ends meanwhile covered is not among those that come later. Raises NotAllowed, NotAvailable.
    """
    require(actor, "vault.open_storedobject")
    mine = StoredObject.objects.filter(subject=subject_id).order_by("owner", "kind", "part")
    ids = list(mine.values_list("pk", flat=True))
    for start in range(0, len(ids), _OPENED_AT_ONCE):
        some = mine.filter(pk__in=ids[start : start + _OPENED_AT_ONCE]).select_related("subject", "consent")
        read = [(row, found) for row in some if (found := _for_the_person(row)) is not None]
        if not read:
            continue
        with transaction.atomic():
            held = _held([row for row, _found in read])
            opened = [found for row, found in read if row.pk in held and _is_kept(held[row.pk])]
            seen = [each for each in opened if each.content is not None]
            if seen:
                append(
                    [
                        NewEntry(
                            action="vault.opened",
                            subject_type="prediction",
                            subject_id=each.owner,
                            details={"kind": str(each.kind), "part": each.part},
                        )
                        for each in seen
                    ],
                    actor=str(actor.pseudonym),
                )
        yield from opened


def _for_the_person(row: StoredObject) -> HandedOut | None:
    """None: it is not kept any more. Raises NotAvailable."""
    if not _is_kept(row) or (_has_run_out(row) and row.subject.restricted_at is None):
        return None
    try:
        content: bytes | None = _opened(row)
    except FileNotFoundError:
        return None
    except cipher.Unopenable as error:
        _log.error(_CANNOT_BE_READ, extra={"object": str(row.pk), "error": str(error)})
        content = None
    return HandedOut(Kind(row.kind), row.owner, row.part, content)


def _held(rows: Sequence[StoredObject]) -> Mapping[UUID, StoredObject]:
    """Of what was read those that are there still, as they are now; nobody ends one before the caller's transaction.

    A store may take seconds to hand something out. Without this an entry that somebody saw it would come after the
    withdrawal that it tells against, or after an erasure that found nothing any more. Locked in the order in which
    whoever ends something takes them: the consents, then the person.
    """
    consents = Consent.objects.filter(pk__in={row.consent_id for row in rows})
    list(consents.select_for_update(no_key=True).order_by("pk").values_list("pk"))
    people = Subject.objects.filter(pk__in={row.subject_id for row in rows})
    list(people.select_for_update(no_key=True).order_by("pk").values_list("pk"))
    return StoredObject.objects.select_related("subject", "consent").in_bulk([row.pk for row in rows])


def _is_kept(row: StoredObject) -> bool:
    """Whether nobody has ended it: neither an erasure nor who gave the consent."""
    return row.subject.shut_at is None and row.consent.withdrawn_at is None


def _has_run_out(row: StoredObject) -> bool:
    return row.consent.expires_at is not None and row.consent.expires_at <= now()


def open_for_training(*, actor: User, owners: Collection[str]) -> list[PhotographForTraining]:
    """The kept photographs of these owners whose person agrees to training with them now, each with an audit entry.

    Inside the caller's transaction, until whose end the consents stay locked: whoever withdraws one meanwhile waits.
    Raises NotAllowed, NotAvailable.
    """
    require(actor, "vault.train_storedobject")
    rows = StoredObject.objects.filter(owner__in=list(owners), kind=Kind.PHOTOGRAPH)
    people = set(rows.values_list("subject", flat=True))
    _hold_consents(people)
    in_force = {
        purpose: list(queries.consents_in_force(purpose=purpose, at=now()).filter(subject__in=people))
        for purpose in (Purpose.KEEP_PHOTOGRAPH, Purpose.TRAINING)
    }
    kept_under = {consent.pk for consent in in_force[Purpose.KEEP_PHOTOGRAPH]}
    agreed = {consent.subject_id: consent for consent in in_force[Purpose.TRAINING]}
    restricted = restricted_among(agreed.keys())
    trained_under = {person: consent for person, consent in agreed.items() if person not in restricted}
    found = []
    for row in rows.filter(consent__in=kept_under, subject__in=trained_under).select_related("subject"):
        try:
            content = _opened(row)
        except (FileNotFoundError, cipher.Unopenable) as error:
            _log.warning("a kept photograph cannot be read", extra={"object": str(row.pk), "error": str(error)})
            continue
        found.append(PhotographForTraining(row.owner, row.part, content, trained_under[row.subject_id]))
    found.sort(key=lambda each: (each.owner, each.part))
    if found:
        append(
            [
                NewEntry(
                    action="vault.opened",
                    subject_type="prediction",
                    subject_id=each.owner,
                    details={
                        "kind": str(Kind.PHOTOGRAPH),
                        "part": each.part,
                        "for": "training",
                        "consent": each.consent.pk,
                    },
                )
                for each in found
            ],
            actor=str(actor.pseudonym),
        )
    return found


def hold_for_training(owners: Collection[str]) -> frozenset[tuple[str, int]]:
    """The photographs of these owners that may be learnt from now, as owner and part, and until the caller's
    transaction ends: whoever takes a consent back, restricts or erases meanwhile waits. A few queries for some hundred.
    """
    names = sorted(owners)
    parts = [names[start : start + _NAMES_AT_ONCE] for start in range(0, len(names), _NAMES_AT_ONCE)]
    rows = StoredObject.objects.filter(kind=Kind.PHOTOGRAPH)
    _hold_consents({person for some in parts for (person,) in rows.filter(owner__in=some).values_list("subject")})
    return queries.photographs_lent(names, at=now())


def _hold_consents(people: Collection[UUID]) -> None:
    """In the one order in which everybody takes them, or two who take those of one person wait in a circle."""
    wanted = sorted(people)
    found: list[int] = []
    for start in range(0, len(wanted), _NAMES_AT_ONCE):
        theirs = Consent.objects.filter(subject__in=wanted[start : start + _NAMES_AT_ONCE])
        found += theirs.values_list("pk", flat=True)
    found.sort()
    for start in range(0, len(found), _NAMES_AT_ONCE):
        held = Consent.objects.filter(pk__in=found[start : start + _NAMES_AT_ONCE]).order_by("pk")
        list(held.select_for_update(no_key=True).values_list("pk"))


def _opened(row: StoredObject) -> bytes:
    """Raises FileNotFoundError, Unopenable; NotAvailable when the store does not tell what it has, or this process
    lacks the master key.
    """
    try:
        sealed = queries.store().read(row.pk)
    except FileNotFoundError:
        raise
    except OSError as error:
        _log.error("the store of photographs cannot be read: %s", error)
        raise NotAvailable(_("Where photographs are kept cannot be reached now. Try again in a minute.")) from error
    try:
        subject_key = queries.key_of(row.subject)
    except cipher.KeyMissing as error:  # a console's processes have different key files
        _log.error("a person's key cannot be opened: %s", error)
        raise NotAvailable(_("The key for what is kept here is not on this machine now. Try again later.")) from error
    return cipher.open_object(subject_key, object_id=row.pk, salt=bytes(row.salt), sealed=sealed)
