"""What is asked of the vault without opening anything."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.db.models import BinaryField, Count, Q, QuerySet
from django.db.models.functions import Substr
from django.utils.timezone import now

from console.vault import awaited_keys
from console.vault.cipher import (
    KEY_ID_BYTES,
    NAMED,
    UNNAMED,
    KeyMissing,
    KeyUnreadable,
    MasterKeys,
    Unopenable,
    find_by,
    find_prediction_by,
    key_id,
    unwrap,
    wrapped_under,
)
from console.vault.folder import Folder
from console.vault.key_file import KeyFile
from console.vault.models import Consent, Erased, Kind, Purpose, StoredObject, Subject
from console.vault.storage import ObjectStore

NEVER_AGAIN: Final = datetime.max.replace(tzinfo=UTC)  # later than any event
_RUN_OUT: Final = "run out"
_OWNERS_AT_ONCE: Final = 500
_KEY_FILE: Final = KeyFile()


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one owner and may be opened: the parts with a photograph, and those with a heat map."""

    photographs: tuple[int, ...] = ()
    heat_maps: tuple[int, ...] = ()
    run_out: tuple[int, ...] = ()  # parts whose photograph waits to be deleted, since its consent has run out


def kept_under(consent: Consent) -> int:
    """How many photographs and heat maps are kept under a consent, and end with it."""
    return StoredObject.objects.filter(consent=consent).count()


def keys() -> MasterKeys:
    """The keys as their file has them now. Raises KeyUnreadable, OSError where it never could be read."""
    return _KEY_FILE.keys(Path(settings.AMULET.vault_key_file))


def key_of(subject: Subject) -> bytes:
    """The key of everything that is kept of a person. Raises Unopenable, KeyMissing.

    A query only where it was wrapped anew since the row was read, and the master key from before is gone.
    """
    wrapped = bytes(subject.wrapped_key)
    try:
        return unwrap(keys(), subject.pk, wrapped)
    except Unopenable:
        current = Subject.objects.filter(pk=subject.pk).values_list("wrapped_key", flat=True).first()
        if current is None or bytes(current) == wrapped:
            raise
        return unwrap(keys(), subject.pk, bytes(current))


def opens(subject: Subject) -> bool:
    """Whether the key of a person can be opened, so that something can be kept of them. False where it is spoilt, or
    its master key was waited for long enough; raises KeyAwaited before that.
    """
    wrapped = bytes(subject.wrapped_key)
    try:
        key_of(subject)
    except Unopenable as error:
        if isinstance(error, KeyMissing) or wrapped[:1] == UNNAMED:
            awaited_keys.AWAITED.wait_for(wrapped_under(wrapped), file=str(settings.AMULET.vault_key_file))
        return False
    awaited_keys.AWAITED.came({wrapped_under(wrapped)})
    return True


def awaited_key_complaint() -> tuple[str, bool]:
    """What this process met and lacks, as one sentence or ""; and whether events are held up for it. No query."""
    awaited, file = awaited_keys.AWAITED, str(settings.AMULET.vault_key_file)
    if awaited.complaint(file=file)[0]:
        awaited.came(keys().ids)
    return awaited.complaint(file=file)


def with_heads(size: int) -> QuerySet[Any]:
    """People whose keys were not overwritten, with the `head` of so many bytes by which these begin."""
    head = Substr("wrapped_key", 1, size, output_field=BinaryField())
    return Subject.objects.exclude(wrapped_key=b"").annotate(head=head)


def people_by_key(by: MasterKeys) -> dict[str, int]:
    """How many people's keys are wrapped under each master key, by its id: a read of the whole table.

    "" is the key from before the first rotation, which no row names, where these keys have it not.
    """
    rows = with_heads(1 + KEY_ID_BYTES).filter(head__gte=NAMED).values_list("head").annotate(count=Count("pk"))
    counted = {bytes(head)[1:].hex(): count for head, count in rows.order_by()}
    unnamed = with_heads(len(UNNAMED)).filter(head=UNNAMED)
    newest = unnamed.order_by("-created_at").values_list("pk", "wrapped_key").first()
    if newest is not None:
        id_ = _opened_by(by, newest[0], bytes(newest[1]))
        counted[id_] = counted.get(id_, 0) + unnamed.count()
    return counted


def _opened_by(by: MasterKeys, subject_id: UUID, wrapped: bytes) -> str:
    """The id of the key that opens what does not name one: before its first rotation a vault had one."""
    for key in (by.wrapping, *by.opening):
        try:
            unwrap(MasterKeys(look_up=by.look_up, wrapping=key), subject_id, wrapped)
        except Unopenable:
            continue
        return key_id(key)
    return ""


def key_is_anothers() -> bool:
    """Whether people are known here under no master key that this process has: with another vault's it would know none
    of them, and record them anew beside themselves. A query. Raises KeyUnreadable, OSError, DatabaseError.
    """
    known = Subject.objects.exclude(wrapped_key=b"").order_by("-created_at").values_list("pk", "wrapped_key").first()
    if known is None:
        return False
    try:
        unwrap(keys(), known[0], bytes(known[1]))
    except Unopenable:
        return True
    return False


def _missing_key() -> str:
    """Which master key the file of a rotated vault lacks, as a sentence; "" for none. A backup from before wants it."""
    if not keys().rotated:
        return ""
    lacking = {id_: people for id_, people in people_by_key(keys()).items() if id_ not in keys().ids}
    if not lacking:
        return ""
    named = " and ".join(
        f"the master key {id_} ({people})" if id_ else f"the one from before the first rotation ({people})"
        for id_, people in sorted(lacking.items())
    )
    return (
        f"which lacks a key under which people's keys are wrapped in this database: {named}. Take it from the "
        "vault.key that was kept with this database's backup: `amulet vault add --from FILE`"
    )


def key_complaint() -> str | None:
    """One sentence when this process has no vault key, or not the one of this database. For every start that uses it.

    With another one nobody in it is known: everybody would be recorded anew, and an erasure find one of the two. None
    where it cannot be told: a database that is away, or has no tables yet, is told of by /readyz.
    """
    variable = f"AMULET_VAULT_KEY_FILE names {settings.AMULET.vault_key_file}"
    try:
        missing = _missing_key()
        anothers = not missing and key_is_anothers()
    except KeyUnreadable as error:
        return f"AMULET_VAULT_KEY_FILE: {error}"
    except OSError as error:
        return f"{variable}, which cannot be read ({error.strerror}): `amulet up` creates it, or name the one you keep"
    except DatabaseError:
        return None
    if missing:
        return f"{variable}, {missing}"
    if not anothers:
        return None
    return f"{variable}, which is not the key under which this database knows its people: name the one it was made with"


@cache
def store() -> ObjectStore:
    """This process's object store."""
    own = settings.AMULET
    address = own.storage_bucket
    if address is None:
        return Folder(own.storage_dir)
    from console.vault.bucket import Bucket

    return Bucket(address, key_file=own.storage_key_file, ca_file=own.storage_ca)


def subject_of(pseudonym: str) -> Subject | None:
    return Subject.objects.filter(found_by=find_by(keys(), pseudonym)).first()


def consents_with_subjects() -> QuerySet[Consent]:
    """Consents, newest first; joins the subject."""
    return Consent.objects.select_related("subject").order_by("-recorded_at", "-pk")


def consents_in_force(*, purpose: Purpose, at: datetime) -> QuerySet[Consent]:
    """Consents to a purpose that are valid at an instant and were not withdrawn since."""
    return Consent.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=at),
        purpose=purpose,
        given_at__lte=at,
        withdrawn_at=None,
        subject__shut_at=None,
    )


def consents_named(references: Iterable[str], *, purpose: Purpose, at: datetime) -> QuerySet[Consent]:
    """Those of them that are in force at an instant; joins the subject. No query where none is named."""
    in_force = consents_in_force(purpose=purpose, at=at)
    return in_force.filter(reference__in=sorted(set(references))).select_related("subject")


def consents_ended(before: datetime) -> QuerySet[Consent]:
    """Consents that were withdrawn, or ran out, before a time."""
    return Consent.objects.filter(Q(withdrawn_at__lt=before) | Q(expires_at__lt=before))


def erased_among(prediction_ids: Collection[UUID]) -> frozenset[UUID]:
    """Those predictions that were erased lately, with their person. A query, and none where there are none."""
    wanted = {find_prediction_by(keys(), prediction_id): prediction_id for prediction_id in prediction_ids}
    if not wanted:
        return frozenset()
    found = Erased.objects.filter(found_by__in=list(wanted)).values_list("found_by", flat=True)
    return frozenset(wanted[bytes(found_by)] for found_by in found)


def known_since(pseudonyms: Collection[str]) -> Mapping[str, datetime]:
    """Since when those among them are known who are here and not being erased. A query, and none for nobody."""
    wanted = {find_by(keys(), pseudonym): pseudonym for pseudonym in pseudonyms}
    if not wanted:
        return {}
    rows = Subject.objects.filter(found_by__in=list(wanted), shut_at=None).values_list("found_by", "created_at")
    return {wanted[bytes(found_by)]: created_at for found_by, created_at in rows}


def erased_at(pseudonyms: Collection[str]) -> Mapping[str, datetime]:
    """When those among them were erased who were, lately, or are being erased now (NEVER_AGAIN). Two queries."""
    wanted = {find_by(keys(), pseudonym): pseudonym for pseudonym in pseudonyms}
    if not wanted:
        return {}
    gone = {
        wanted[bytes(found_by)]: moment
        for found_by, moment in Erased.objects.filter(found_by__in=list(wanted)).values_list("found_by", "erased_at")
    }
    going = Subject.objects.filter(found_by__in=list(wanted)).exclude(shut_at=None)
    return {**gone, **{wanted[bytes(found_by)]: NEVER_AGAIN for found_by in going.values_list("found_by", flat=True)}}


def kept_of(owners: Iterable[str]) -> Mapping[str, Kept]:
    """What may be opened now, by owner; owners of whom nothing is kept are left out. One query.

    As `opening.open_kept` has it: a consent ends at an instant, and what was kept under it is deleted within a day.
    """
    moment = now()
    kept = StoredObject.objects.filter(
        owner__in=list(owners), subject__restricted_at=None, subject__shut_at=None, consent__withdrawn_at=None
    )
    parts: dict[str, dict[str, list[int]]] = {}
    for owner, kind, part, expires_at in kept.order_by("part").values_list(
        "owner", "kind", "part", "consent__expires_at"
    ):
        of_kind = parts.setdefault(owner, {Kind.PHOTOGRAPH: [], Kind.HEAT_MAP: [], _RUN_OUT: []})
        if expires_at is None or expires_at > moment:
            of_kind[kind].append(part)
        elif kind == Kind.PHOTOGRAPH:
            of_kind[_RUN_OUT].append(part)
    return {
        owner: Kept(tuple(of_kind[Kind.PHOTOGRAPH]), tuple(of_kind[Kind.HEAT_MAP]), tuple(of_kind[_RUN_OUT]))
        for owner, of_kind in parts.items()
    }


def photographs_lent(owners: Collection[str], *, at: datetime) -> frozenset[tuple[str, int]]:
    """Of the kept photographs of these owners those that may be learnt from at an instant, as owner and part.

    As `opening.open_for_training` has it: both consents are in force and the person has not restricted them. One
    query for some hundred owners.
    """
    keeping = consents_in_force(purpose=Purpose.KEEP_PHOTOGRAPH, at=at)
    training = consents_in_force(purpose=Purpose.TRAINING, at=at)
    lent = StoredObject.objects.filter(
        kind=Kind.PHOTOGRAPH,
        consent__in=keeping,
        subject__in=training.values("subject"),
        subject__restricted_at=None,
    )
    names = list(owners)
    found: set[tuple[str, int]] = set()
    for start in range(0, len(names), _OWNERS_AT_ONCE):
        found.update(lent.filter(owner__in=names[start : start + _OWNERS_AT_ONCE]).values_list("owner", "part"))
    return frozenset(found)


def first_photographs(owners: Collection[str], *, at: datetime) -> frozenset[str]:
    """Those of these owners of whose first view a photograph is kept that may be opened at an instant. One query."""
    covered = Q(consent__expires_at=None) | Q(consent__expires_at__gt=at)
    rows = StoredObject.objects.filter(
        covered, owner__in=owners, kind=Kind.PHOTOGRAPH, part=0, consent__withdrawn_at=None, subject__shut_at=None
    )
    return frozenset(rows.values_list("owner", flat=True))
