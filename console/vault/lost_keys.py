"""Giving up a master key that is nowhere any more: what lies under it is noise for ever, and is said to be.

A database that names a key which its file lacks is not served, since it may be the file that is wrong. Where the key is
gone for good, what is kept of the people under it goes, as if it had been erased; they themselves, their consents and
predictions stay, and each gets a fresh key for what comes (decision 0284).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count

from console.audit.services import SYSTEM, NewEntry, append
from console.vault import cipher, queries, services
from console.vault.cipher import KEY_ID_BYTES, NAMED, UNNAMED, MasterKeys, opens
from console.vault.key_file import KeyRefused
from console.vault.models import StoredObject, Subject

FIRST: Final = "first"  # the key from before the vault's first rotation, which no row names
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Lost:
    """What is wrapped under a key that this console has not."""

    key: str
    people: int
    objects: int  # photographs and heat maps of theirs, that nobody can open


def lost(wanted: str) -> Lost:
    """What giving up a key would cost. Reads the whole table.

    Raises KeyRefused for a key that the file holds, or under which nobody's key is wrapped; KeyUnreadable, OSError.
    """
    keys = queries.keys()
    path = Path(settings.AMULET.vault_key_file)
    if wanted in keys.ids:
        raise KeyRefused(f"{path} holds the key {wanted}: nothing under it is lost")
    people = objects = 0
    for some in _under(keys, wanted):
        people += len(some)
        objects += StoredObject.objects.filter(subject__in=some).count()
    if not people:
        raise KeyRefused(
            f"nobody's key is wrapped under {wanted!r}: `amulet vault keys` lists those that are missing from {path}"
        )
    return Lost(wanted, people, objects)


@transaction.atomic
def give_up(wanted: str) -> Lost:
    """Delete what is kept of the people under this key, and give each of them a new one. All of it or nothing.

    Each person of whom something was kept has an entry in the audit log, and the key has one. Raises as `lost` does.
    """
    if connection.vendor == "postgresql":  # SQLite has one writer: this transaction, from its first statement on
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {Subject._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    found, keys = lost(wanted), queries.keys()
    entries: list[NewEntry] = []
    for some in _under(keys, wanted):
        kept = StoredObject.objects.filter(subject__in=some).order_by("subject").values_list("subject")
        entries += [
            NewEntry("vault.objects_lost", "subject", str(person), {"objects": count})
            for person, count in kept.annotate(Count("pk"))
        ]
        services.discard_of_people(some)
        for person in some:
            Subject.objects.filter(pk=person).update(wrapped_key=cipher.new_subject_key(keys, person))
    told = {"people": found.people, "objects": found.objects}
    append([*entries, NewEntry("vault.key_given_up", "vault_key", wanted, told)], actor=SYSTEM)
    return found


def _under(keys: MasterKeys, wanted: str) -> Iterator[list[UUID]]:
    """People whose key is wrapped under one that is not here, in parts, along the table."""
    head = UNNAMED if wanted == FIRST else NAMED + _id_of(wanted)
    after: UUID | None = None
    while True:
        rows = queries.with_heads(len(head)).filter(head=head).order_by("pk")
        if after is not None:
            rows = rows.filter(pk__gt=after)
        found = list(rows.values_list("pk", "wrapped_key")[:_AT_ONCE])
        if not found:
            return
        after = found[-1][0]
        yield [pk for pk, wrapped in found if wanted != FIRST or not opens(keys, pk, bytes(wrapped))]


def _id_of(wanted: str) -> bytes:
    """Raises KeyRefused for what is no id of a key."""
    try:
        found = bytes.fromhex(wanted)
    except ValueError:
        found = b""
    if len(found) != KEY_ID_BYTES:
        raise KeyRefused(f"{wanted!r} is no id of a key: `amulet vault keys` lists them, and {FIRST!r} is the one from "
                         "before the first rotation")  # fmt: skip
    return found
