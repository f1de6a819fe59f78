"""Wrapping people's keys anew under the master key that wraps now, and what is said of it (decision 0273).

    add       a new key beside the others: every process opens with it, none wraps
    use       it wraps; `rewrap` brings over what is wrapped under others, row by row
    remove    the old one goes, when nothing is wrapped under it

A row that changed since it was read is left: an erasure overwrote the key, and nothing brings that back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction

from console.audit.models import Head, Payload
from console.audit.services import SYSTEM, NewEntry, append
from console.vault import key_file, queries
from console.vault.cipher import MasterKeys, Unopenable, unwrap, wrap, wrapped_head
from console.vault.key_file import KeyRefused
from console.vault.models import Subject

_AT_ONCE: Final = 200
_TELL_OF_KEYS: Final = ("vault.key_added", "vault.key_used", "vault.key_removed")


@dataclass(frozen=True, slots=True)
class KeyState:
    """One master key, and how many people's keys are wrapped under it."""

    id: str  # "": the one from before the vault's first rotation, which no row names
    use: str  # "wraps", "opens"; "missing" from the key file
    people: int


def states() -> list[KeyState]:
    """Of all keys in the file, the one that wraps first, and of those that are missing there. Reads the whole table.

    Raises KeyUnreadable, OSError.
    """
    keys = queries.keys()
    counted = queries.people_by_key(keys)
    held = [KeyState(id_, "opens" if place else "wraps", counted.pop(id_, 0)) for place, id_ in enumerate(keys.ids)]
    return held + [KeyState(id_, "missing", people) for id_, people in sorted(counted.items())]


def rewrap(*, enough: Callable[[], bool] = lambda: False, said: Callable[[int], None] = lambda _more: None) -> int:
    """Wrap anew, along the table, what is not under the key that wraps now. Returns how many.

    enough: asked after some hundred rows each.  said: told how many more. Killed anywhere it goes on where it was, and
    may run twice at once. What opens under no key of this process stays as it is. Nothing to do in a vault that was
    never rotated. Raises KeyUnreadable, OSError, DatabaseError.
    """
    done, after = 0, None
    while queries.keys().rotated and not enough():
        more, last = _rewrap_some(queries.keys(), after)
        if last is None:
            break
        done, after = done + more, last
        said(more)
    if done:
        with transaction.atomic():
            keys = queries.keys()
            left = sum(people for id_, people in queries.people_by_key(keys).items() if id_ != keys.ids[0])
            append([_told("vault.rewrapped", keys.ids[0], {"people": done, "left": left})], actor=SYSTEM)
    return done


def add_key(*, source: Path | None = None) -> tuple[str, ...]:
    """A new key, or those of a key file from before. Raises KeyRefused, KeyUnreadable, OSError, DatabaseError."""
    note_keys()
    came = key_file.add(_path(), source=source)
    note_keys()
    return came


def use_key(wanted: str) -> None:
    """Let another key of the file wrap. Raises KeyRefused, KeyUnreadable, OSError, DatabaseError."""
    note_keys()
    key_file.use(_path(), wanted=wanted)
    note_keys()


def remove_key(wanted: str) -> None:
    """Take a key out of the file under which nothing is wrapped.

    Who wraps at this moment is waited for, and whoever begins meanwhile sees which key wraps: see `of_now`.
    Raises KeyRefused, KeyUnreadable, OSError, DatabaseError.
    """
    note_keys()
    key_file.check_removable(queries.keys(), wanted, _path())
    with transaction.atomic():
        if connection.vendor == "postgresql":  # SQLite has one writer: this transaction
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {Subject._meta.db_table} IN SHARE MODE")
        if people := queries.people_by_key(queries.keys()).get(wanted, 0):
            raise KeyRefused(
                f"{people} people's keys are still wrapped under {wanted}: wait until `amulet vault keys` says 0, or "
                "wrap them anew at once with `amulet vault rewrap`"
            )
        key_file.remove(_path(), wanted=wanted)
    note_keys()


def of_now(fresh: Iterable[Subject], keys: MasterKeys) -> None:
    """People who were just inserted, in this transaction, under the key that wraps now.

    keys: those under which they were. The insertion holds up whoever removes a key; a key that wraps since before that
    is seen here. So no row appears under a key that was found to wrap nothing.
    """
    while (current := queries.keys()).wrapping != keys.wrapping:
        for subject in fresh:
            key = unwrap(keys, subject.pk, bytes(subject.wrapped_key))
            subject.wrapped_key = wrap(current, subject.pk, key)
            # One whom somebody else inserted first has another id, and is theirs.
            Subject.objects.filter(pk=subject.pk).update(wrapped_key=subject.wrapped_key)
        keys = current


@transaction.atomic
def note_keys() -> None:
    """Have in the audit log which keys came, went or wrap since it last said so: whoever changed the file, and however.

    Nothing in a vault that was never rotated. Raises KeyUnreadable, OSError, DatabaseError.
    """
    keys = queries.keys()
    if not keys.rotated or _last_noted() == keys.ids:
        return
    # From here on no other process notes the same; on SQLite that is so since the transaction began.
    list(Head.objects.select_for_update().filter(pk=1))
    before = _last_noted() or keys.ids[:1]
    entries = [_told("vault.key_added", each, {"holds": list(keys.ids)}) for each in keys.ids if each not in before]
    if keys.ids[0] != before[0]:
        entries.append(_told("vault.key_used", keys.ids[0], {"before": before[0], "holds": list(keys.ids)}))
    entries += [_told("vault.key_removed", each, {"holds": list(keys.ids)}) for each in before if each not in keys.ids]
    if entries:
        append(entries, actor=SYSTEM)


def _rewrap_some(keys: MasterKeys, after: object) -> tuple[int, object]:
    """How many, and the id of the last that was looked at; None: there is none behind `after`."""
    head, done = wrapped_head(keys), 0
    with transaction.atomic():
        rows = queries.with_heads(len(head)).exclude(head=head)
        if after is not None:
            rows = rows.filter(pk__gt=after)
        found = list(rows.order_by("pk").values_list("pk", "wrapped_key")[:_AT_ONCE])
        for pk, wrapped in found:
            try:
                subject_key = unwrap(keys, pk, bytes(wrapped))
            except Unopenable:
                continue
            done += Subject.objects.filter(pk=pk, wrapped_key=bytes(wrapped)).update(
                wrapped_key=wrap(keys, pk, subject_key)
            )
    return done, found[-1][0] if found else None


def _told(action: str, id_: str, details: dict[str, Any]) -> NewEntry:
    return NewEntry(action=action, subject_type="vault_key", subject_id=id_, details=details)


def _last_noted() -> tuple[str, ...] | None:
    """The ids that the file had when the log last told of it; None: it never did."""
    told = Payload.objects.filter(subject_type="vault_key", entry__type__in=_TELL_OF_KEYS).order_by("-entry_id")
    text = told.values_list("text", flat=True).first()
    return None if text is None else tuple(json.loads(text)["holds"])


def _path() -> Path:
    return Path(settings.AMULET.vault_key_file)
