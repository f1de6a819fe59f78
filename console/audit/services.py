"""What writes to the audit log, always inside the transaction of the act that it tells of.

The head row is the sequencer: its UPDATE takes the row's lock on PostgreSQL, the write lock
of the whole database on SQLite, and holds it until the transaction ends. Writers therefore
append one after another, and an entry whose transaction fails takes its number back. Append
late in a transaction: what comes after keeps every other writer waiting.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from django.db import connection, transaction
from django.utils.timezone import now

from console.audit import chain
from console.audit.models import Entry, Head, Payload
from console.rows import insert_rows

SYSTEM: Final = "system"
_ROWS_PER_STATEMENT: Final = 1000


class Actor(Protocol):
    """A person, as the chain knows people."""

    pseudonym: UUID


@dataclass(frozen=True, slots=True)
class NewEntry:
    """One act. `details` must be plain JSON, and no more personal than a pseudonym."""

    action: str  # "prediction.made"
    subject_type: str
    subject_id: str
    details: Mapping[str, Any] = field(default_factory=dict)


def record(*, actor: Actor | None, action: str, subject_type: str, subject_id: str, details: Mapping[str, Any]) -> int:
    """Append one entry inside the caller's transaction; None acts for the system itself. Returns its sequence.

    Raises ValueError when a word is not of the form of one, or the details are not plain JSON or say "about".
    """
    entry = NewEntry(action=action, subject_type=subject_type, subject_id=subject_id, details=details)
    return append([entry], actor=SYSTEM if actor is None else str(actor.pseudonym))


def append(entries: Sequence[NewEntry], *, actor: str, at: datetime | None = None) -> int:
    """Append entries in order, in a few statements however many they are. Returns the first one's sequence.

    Must run inside a transaction. Raises ValueError as `record` does, before anything is written.
    """
    if not entries:
        raise ValueError("there is nothing to append")
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("an audit entry belongs into the transaction of its act")
    if not chain.ACTOR_FORM.fullmatch(actor):
        raise ValueError(f"{actor!r} is not a pseudonym or the name of a process")
    prepared = _prepare(entries)
    moment = now() if at is None else at
    time = chain.time_text(moment)
    sequence, previous = _take(len(entries))
    first = sequence
    links, payloads = [], []
    for entry, salt, text, commitment in prepared:
        entry_hash = chain.entry_hash(
            sequence=sequence,
            time=time,
            type_=entry.action,
            actor=actor,
            previous=previous.hex(),
            commitment=commitment.hex(),
        )
        links.append((sequence, moment, entry.action, actor, previous, commitment, entry_hash))
        payloads.append((sequence, salt, text, entry.subject_type, entry.subject_id))
        previous = entry_hash
        sequence += 1
    insert_rows(Entry, ("sequence", "recorded_at", "type", "actor", "previous_hash", "commitment", "entry_hash"), links)
    insert_rows(Payload, ("entry_id", "salt", "text", "subject_type", "subject_id"), payloads)
    Head.objects.filter(pk=1).update(entry_hash=previous)
    return first


@transaction.atomic
def erase_payloads(*, subject_type: str, subject_ids: Collection[str]) -> int:
    """Delete what the entries about these say, salts included; the chain still verifies. Returns how many."""
    wanted, gone = sorted(set(subject_ids)), 0
    for start in range(0, len(wanted), _ROWS_PER_STATEMENT // 2):
        some = wanted[start : start + _ROWS_PER_STATEMENT // 2]
        deleted, _ = Payload.objects.filter(subject_type=subject_type, subject_id__in=some).delete()
        gone += deleted
    return gone


def _prepare(entries: Sequence[NewEntry]) -> list[tuple[NewEntry, bytes, str, bytes]]:
    prepared = []
    for entry, salt in zip(entries, chain.new_salts(len(entries)), strict=True):
        if not chain.TYPE_FORM.fullmatch(entry.action):
            raise ValueError(f"{entry.action!r} is not the name of an act")
        if "about" in entry.details:
            raise ValueError('"about" is what the entry itself is about: the details need another word')
        text = chain.canonical({"about": [entry.subject_type, entry.subject_id], **entry.details})
        prepared.append((entry, salt, text, chain.commitment_of(salt, text)))
    return prepared


def _take(count: int) -> tuple[int, bytes]:
    """Reserve `count` numbers under the head's lock. Returns the first, and the hash that it follows."""
    move = "UPDATE audit_head SET sequence = sequence + %s WHERE id = 1 RETURNING sequence, entry_hash"
    with connection.cursor() as cursor:
        cursor.execute(move, [count])
        row = cursor.fetchone()
        if row is None:
            _restore_head()
            cursor.execute(move, [count])
            row = cursor.fetchone()
    last, entry_hash = row
    return last - count + 1, bytes(entry_hash)


def _restore_head() -> None:
    """Make the head from the last link. Only an emptied database has none."""
    last = Entry.objects.order_by("-sequence").first()
    head = Head(
        id=1,
        sequence=last.sequence if last else 0,
        entry_hash=bytes(last.entry_hash) if last else bytes.fromhex(chain.GENESIS),
    )
    Head.objects.bulk_create([head], ignore_conflicts=True)
