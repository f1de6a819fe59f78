"""What changes the vault. What is in it is opened through the doors of `opening`.

The race that must not be lost is a withdrawal against an event that is being applied: the
keeper locks the consent's row before it looks, the withdrawal updates that row before it
deletes. Whoever comes second sees what the first one did.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.timezone import now
from django.utils.translation import gettext as _

from console.audit.services import record
from console.errors import Conflict, Invalid, NotFound
from console.staff.models import User
from console.staff.services import require
from console.steady import earliest, latest
from console.vault import cipher, evidence, queries, restriction
from console.vault.models import Consent, Erased, Kind, Purpose, StoredObject, Subject
from console.vault.ownership import MARK, StoreIsAnothers, is_ours
from console.vault.rotation import of_now
from console.vault.storage import SHELVES

_log = logging.getLogger(__name__)
TEXT_MAX: Final = 128
WORD_MAX: Final = 40
CLOCKS_DIFFER_MAX: Final = timedelta(minutes=5)
# Nobody agreed or asked earlier; a slip of the keyboard did, and time limits cannot be reckoned from the year 1.
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
ORPHAN_AGE_S: Final = 3600.0
# A look at every one of a million files takes minutes of a disk. What is swept is noise already: a day is soon enough.
SWEEP_TURNS: Final = 128
LATE_EVENTS_MAX: Final = timedelta(days=30)  # how long an erasure is remembered: a gateway's journal may wait so long
# What is older may be from before an erasure that is forgotten: a day less, for a clock that was set back since.
_SURELY_REMEMBERED: Final = LATE_EVENTS_MAX - timedelta(days=1)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")


@dataclass(frozen=True, slots=True)
class NewObject:
    """Something to keep, in the clear."""

    kind: Kind
    part: int
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToKeep:
    """What a consent in force allows to be kept of one owner, as a prediction."""

    consent: Consent
    owner: str
    objects: tuple[NewObject, ...]


@transaction.atomic
def give_consent(
    *,
    actor: User,
    pseudonym: str,
    purpose: str,
    text_version: str,
    channel: str,
    reference: str = "",
    given_at: datetime | None = None,
    expires_at: datetime | None = None,
) -> Consent:
    """Record a person's agreement; an empty reference is made up.

    Raises NotAllowed; Invalid for an unfit value or time; Conflict when the reference is taken.
    """
    require(actor, "vault.add_consent")
    moment = now()
    given_at = given_at or moment
    _check_pseudonym(pseudonym)
    if purpose not in Purpose.values:
        wanted = ", ".join(Purpose.values)
        raise Invalid(
            _("{value} is not a purpose; the purposes are {wanted}.").format(value=purpose, wanted=wanted),
            field="purpose",
        )
    if given_at > moment + CLOCKS_DIFFER_MAX:
        raise Invalid(_("A consent cannot have been given in the time to come."), field="given_at")
    if given_at < EARLIEST:
        raise Invalid(_("A consent cannot have been given before the year 2000."), field="given_at")
    if expires_at is not None and expires_at <= given_at:
        raise Invalid(_("A consent must run out after it was given."), field="expires_at")
    _check_word(text_version, _("Version of the text"), field="text_version")
    _check_word(channel, _("Channel"), field="channel")
    reference = reference or f"consent-{secrets.token_hex(12)}"
    if not _REFERENCE.fullmatch(reference):
        raise Invalid(_("A reference has 1 to 128 letters, digits or _ . : -"), field="reference")
    if pseudonym not in (known := subjects_of([pseudonym])):
        raise Conflict(_("This person is being erased: try again when that is done."), reason="being_erased")
    subject = known[pseudonym]
    try:
        with transaction.atomic():
            consent = Consent.objects.create(
                reference=reference,
                subject=subject,
                purpose=purpose,
                text_version=text_version,
                channel=channel,
                given_at=given_at,
                expires_at=expires_at,
            )
    except IntegrityError:
        raise Conflict(
            _("The reference {reference} is taken.").format(reference=reference),
            reason="reference_taken",
            field="reference",
        ) from None
    record(
        actor=actor,
        action="consent.given",
        subject_type="subject",
        subject_id=str(subject.pk),
        details={"consent": consent.pk, **evidence.as_given(consent)},
    )
    return consent


@transaction.atomic
def withdraw_consent(*, actor: User, reference: str, channel: str) -> Consent:
    """End a consent at once: what was kept under it can no longer be read when this returns.

    A second withdrawal changes nothing. Raises NotAllowed, NotFound, Invalid.
    """
    require(actor, "vault.change_consent")
    _check_word(channel, _("Channel"), field="channel")
    changed = Consent.objects.filter(reference=reference, withdrawn_at=None).update(
        withdrawn_at=now(), withdrawal_channel=channel
    )
    consent = queries.consents_with_subjects().filter(reference=reference).first()
    if consent is None:
        raise NotFound(_("There is no consent {reference}.").format(reference=reference), field="reference")
    if changed:
        gone = _discard(StoredObject.objects.filter(consent=consent).values_list("pk", flat=True))
        record(
            actor=actor,
            action="consent.withdrawn",
            subject_type="subject",
            subject_id=str(consent.subject_id),
            details={"consent": consent.pk, "channel": channel, "objects": gone},
        )
    return consent


@transaction.atomic
def shut(*, subject_id: UUID) -> bool:
    """Close a person's records before they are erased: from now on nothing is kept, added or opened.

    Whoever is keeping something now finishes first. Harmless when repeated; False when there is no such person.
    """
    # In the order in which whoever keeps an object takes them: first the consents, then the subject.
    list(Consent.objects.select_for_update().filter(subject=subject_id).order_by("pk").values_list("pk"))
    rows = Subject.objects.filter(pk=subject_id)
    rows.filter(shut_at=None).update(shut_at=now())
    return rows.exists()


def destroy_key(*, subject_id: UUID) -> int:
    """Overwrite the key of a person whose records are shut: what was kept is noise from here on. Returns how many."""
    return Subject.objects.filter(pk=subject_id).exclude(shut_at=None).exclude(wrapped_key=b"").update(wrapped_key=b"")


@transaction.atomic
def erase_kept(*, subject_id: UUID) -> int:
    """Delete every object and consent of a person whose records are shut; the bytes go when that is committed."""
    gone = _discard(StoredObject.objects.filter(subject=subject_id).values_list("pk", flat=True))
    return gone + Consent.objects.filter(subject=subject_id).delete()[0]


@transaction.atomic
def erase(*, subject_id: UUID, prediction_ids: Collection[UUID] = ()) -> bool:
    """Delete a person whose records are shut, with all that the vault holds. False when that was done before.

    What other apps know must be gone by now, or loses its link. For LATE_EVENTS_MAX the vault
    remembers the keyed hashes of the person and of these predictions, which were theirs, so that an event from before
    the erasure brings nothing back.
    """
    subject = Subject.objects.select_for_update().filter(pk=subject_id).exclude(shut_at=None).first()
    if subject is None:
        return False
    erase_kept(subject_id=subject_id)
    remember_erased(found_by=bytes(subject.found_by))
    remember_erased_predictions(prediction_ids)
    subject.delete()
    return True


def delete_files(object_ids: Iterable[UUID]) -> None:
    """Remove the bytes of objects whose rows are gone. Harmless when they are too. Raises OSError."""
    queries.store().delete(object_ids)


def remember_erased(*, found_by: bytes) -> None:
    """From now on no event from before now brings this person here, for LATE_EVENTS_MAX.

    Where the clock was set back, now is when it was before: events of gateways may be from then.
    """
    Erased.objects.update_or_create(found_by=found_by, defaults={"erased_at": latest(now())})


def remember_erased_predictions(prediction_ids: Iterable[UUID]) -> None:
    """From now on no event says anything of these predictions here, for LATE_EVENTS_MAX. May be repeated."""
    keys = queries.keys()
    _remember((cipher.find_prediction_by(keys, each) for each in prediction_ids), erased_at=latest(now()))


def remembered_by(*, found_by: bytes, prediction_ids: Iterable[UUID]) -> tuple[bytes, ...]:
    """The keyed hashes by which an erasure is remembered: the person's, and those of their predictions."""
    keys = queries.keys()
    return (found_by, *(cipher.find_prediction_by(keys, each) for each in prediction_ids))


@transaction.atomic
def remember_again(found_by: Collection[bytes], *, erased_at: datetime) -> None:
    """Have an erasure of then in memory, which a restore took. One that is remembered from later stays as it is."""
    wanted = sorted(found_by)
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        later = Erased.objects.filter(found_by__in=some, erased_at__gte=erased_at).values_list("found_by", flat=True)
        known = {bytes(key) for key in later}
        _remember((key for key in some if key not in known), erased_at=erased_at)


def may_precede(happened_at: datetime, erased_at: datetime) -> bool:
    """Whether what happened then, by the clock of another machine, may have been before an erasure."""
    return happened_at - erased_at <= CLOCKS_DIFFER_MAX


def is_beyond_memory(happened_at: datetime, at: datetime) -> bool:
    """Whether an erasure since then may be forgotten again."""
    return happened_at < at - _SURELY_REMEMBERED


def forgettable(*, at: datetime) -> QuerySet[Erased]:
    """The memory of erasures from before which no event can still come: `is_beyond_memory` of them."""
    return Erased.objects.filter(erased_at__lt=forgotten_before(at=at))


def forgotten_before(*, at: datetime) -> datetime:
    """An erasure before this is remembered no more: no event from before it can still come."""
    return earliest(at) - LATE_EVENTS_MAX


def forget_erased() -> int:
    """Drop the memory of erasures from before which no event can still come. Returns how many."""
    return forgettable(at=now()).delete()[0]


def subjects_of(pseudonyms: Collection[str]) -> Mapping[str, Subject]:
    """The subject of each pseudonym, made where it is new. Inside the caller's transaction.

    Whoever is being erased is left out.
    """
    keys = queries.keys()
    wanted = {cipher.find_by(keys, pseudonym): pseudonym for pseudonym in pseudonyms}
    if not wanted:
        return {}

    def known() -> dict[str, Subject]:
        rows = Subject.objects.filter(found_by__in=list(wanted))
        return {wanted[bytes(subject.found_by)]: subject for subject in rows}

    found = known()
    new = sorted(found_by for found_by, pseudonym in wanted.items() if pseudonym not in found)
    if new:
        # In one order, so that two transactions that meet never wait for each other in a circle.
        fresh = [Subject(id=uuid.uuid4(), found_by=found_by) for found_by in new]
        for subject in fresh:
            subject.wrapped_key = cipher.new_subject_key(keys, subject.id)
        Subject.objects.bulk_create(fresh, ignore_conflicts=True)
        of_now(fresh, keys)
        found = known()
    return {pseudonym: subject for pseudonym, subject in found.items() if subject.shut_at is None}


def lock_consents(references: Iterable[str], *, purpose: Purpose, at: datetime) -> Mapping[str, Consent]:
    """The named consents in force now, held until the caller's transaction ends, by reference.

    `queries.consents_named` are the same ones, not held. Whether a consent was in force at an earlier instant too is
    `covers`'s to say, and whether its person is restricted `restricted_among`'s.
    """
    named = queries.consents_named(references, purpose=purpose, at=at)
    return {consent.reference: consent for consent in named.select_for_update(of=("self",)).order_by("pk")}


def covers(consent: Consent, *, subject: Subject, at: datetime) -> bool:
    """Whether a consent in force now is this subject's, and was valid at that instant."""
    return consent.subject_id == subject.pk and consent.given_at <= at


def write(*, wanted: Iterable[ToKeep], tried: list[UUID]) -> list[list[StoredObject]]:
    """Put objects into the store, sealed, and return the rows of each, which `keep` saves: without them it is noise.

    Outside any transaction: a disk or a bucket that hangs must not hold up who writes to the database. Raises OSError.

    tried: what may have bytes in the store, appended to. What never gets its row is swept away within a day; who knows
    earlier has `drop_written`.
    """
    rows: list[list[StoredObject]] = []
    queries.store().write(_sealed(wanted, rows, tried))
    return rows


def keep(rows: Iterable[StoredObject]) -> None:
    """Keep what `write` wrote, under consents that the caller's transaction holds."""
    StoredObject.objects.bulk_create(rows)


def drop_written(tried: Collection[UUID]) -> None:
    """Remove the bytes of those that have no row: nothing of theirs was kept. One query."""
    kept = set(StoredObject.objects.filter(pk__in=list(tried)).values_list("pk", flat=True))
    _delete_bytes([object_id for object_id in tried if object_id not in kept])


@transaction.atomic
def discard_of(owners: Iterable[str]) -> int:
    """Delete what is kept of these predictions. Returns how many objects."""
    return _discard(StoredObject.objects.filter(owner__in=list(owners)).values_list("pk", flat=True))


@transaction.atomic
def discard_of_people(subject_ids: Collection[UUID]) -> int:
    """Delete what is kept of these people. Returns how many objects."""
    return _discard(StoredObject.objects.filter(subject__in=subject_ids).values_list("pk", flat=True))


@transaction.atomic
def discard_ended(*, before: datetime) -> int:
    """Delete consents that ended before a time, under which nothing is kept. Returns how many."""
    going = queries.consents_ended(before).filter(objects_kept=None, subject__restricted_at=None)
    restriction.hold(going)
    return going.delete()[0]


def discard_expired() -> int:
    """Delete what is kept under consents that have run out. Returns how many objects.

    What its person restricted stays: that may be what it is needed for.
    """
    with transaction.atomic():
        run_out = StoredObject.objects.filter(consent__expires_at__lte=now(), subject__restricted_at=None)
        restriction.hold(run_out)
        gone = _discard(run_out.values_list("pk", flat=True))
        if gone:
            record(actor=None, action="vault.expired", subject_type="vault", subject_id="", details={"objects": gone})
    return gone


def sweep(*, turn: int) -> int:
    """Remove the files of some shelves that no row names: what a crash left behind. Returns how many.

    turn: counted up from one sweep to the next. SWEEP_TURNS of them look at every file once.

    Raises StoreIsAnothers, and has removed nothing then.
    """
    store = queries.store()
    if not is_ours(store, queries.keys()):
        raise StoreIsAnothers
    removed = 0
    for shelf in range(turn % SWEEP_TURNS, SHELVES, SWEEP_TURNS):
        candidates = list(store.older_than(earliest(now()).timestamp() - ORPHAN_AGE_S, shelf=shelf))
        for start in range(0, len(candidates), 500):
            some = candidates[start : start + 500]
            known = {MARK, *StoredObject.objects.filter(pk__in=some).values_list("pk", flat=True)}
            orphans = [object_id for object_id in some if object_id not in known]
            store.delete(orphans)
            removed += len(orphans)
    return removed


def _sealed(
    wanted: Iterable[ToKeep], rows: list[list[StoredObject]], tried: list[UUID]
) -> Iterator[tuple[UUID, bytes]]:
    """What is written, one after the other, its row and id noted before: few of a batch are in memory twice."""
    for each in wanted:
        rows.append([])
        subject = each.consent.subject
        key = queries.key_of(subject)
        for item in each.objects:
            row = StoredObject(
                subject=subject,
                consent=each.consent,
                kind=item.kind,
                owner=each.owner,
                part=item.part,
                salt=os.urandom(cipher.SALT_BYTES),
            )
            rows[-1].append(row)
            tried.append(row.id)
            yield row.id, cipher.seal_object(key, object_id=row.id, salt=bytes(row.salt), content=item.content)


def _remember(found_by: Iterable[bytes], *, erased_at: datetime) -> None:
    """In one order, so that two who remember the same never wait for each other in a circle."""
    Erased.objects.bulk_create(
        [Erased(found_by=key, erased_at=erased_at) for key in sorted(found_by)],
        batch_size=500,
        update_conflicts=True,
        unique_fields=["found_by"],
        update_fields=["erased_at"],
    )


def _discard(found: Iterable[uuid.UUID]) -> int:
    """Delete rows now, which makes their bytes unreadable, and the bytes once that is committed."""
    gone = list(found)
    for start in range(0, len(gone), 500):
        StoredObject.objects.filter(pk__in=gone[start : start + 500]).delete()
    if gone:
        transaction.on_commit(partial(_delete_bytes, gone))
    return len(gone)


def _delete_bytes(object_ids: Iterable[UUID]) -> None:
    try:
        queries.store().delete(object_ids)
    except OSError as error:
        _log.warning("bytes that nobody can read any more stay until they are swept: %s", error)


def _check_pseudonym(pseudonym: str) -> None:
    if not pseudonym or len(pseudonym) > TEXT_MAX or not pseudonym.isprintable():
        raise Invalid(_("A pseudonym has 1 to {most} printable characters.").format(most=TEXT_MAX), field="subject")


def _check_word(value: str, name: str, *, field: str) -> None:
    """name: of the field, in the reader's language."""
    if not value or len(value) > WORD_MAX or not value.isprintable():
        raise Invalid(
            _("{field} needs 1 to {most} printable characters.").format(field=name, most=WORD_MAX), field=field
        )
