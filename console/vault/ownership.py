"""Whose objects lie in a store, so that a sweep takes nobody else's for rubbish (decision 0261).

To a console an object that its database does not name is what a crash left. Two consoles with a bucket in common and a
database each would delete what the other keeps: settings are copied, and a backup is started to be tried.
"""

from __future__ import annotations

from contextlib import suppress
from hmac import compare_digest
from typing import Final
from uuid import UUID

from console.vault.cipher import MasterKeys, find_by
from console.vault.storage import ObjectStore

MARK: Final = UUID(int=0)  # an id that is never drawn: what is written under it says whose the store is
_MARK_BYTES: Final = 32


class StoreIsAnothers(Exception):
    """The store holds what another vault keeps."""


def mark_of(keys: MasterKeys) -> bytes:
    """What a vault writes into its store, 32 bytes; it tells nothing of the key."""
    return find_by(keys, "\0store")  # a pseudonym is printable


def is_anothers(store: ObjectStore, keys: MasterKeys | None) -> bool:
    """Whether another vault has marked it.  keys: None for a vault that is still to be made. Raises OSError."""
    found = _mark_in(store)
    return found is not None and (keys is None or not compare_digest(found, mark_of(keys)))


def is_ours(store: ObjectStore, keys: MasterKeys) -> bool:
    """Whether it is this vault's; one that is nobody's yet is from now on. Raises OSError."""
    found = _mark_in(store)
    if found is None:
        store.delete([MARK])
        with suppress(FileExistsError):  # another process of this console has just done it
            store.write([(MARK, mark_of(keys))])
        return True
    return compare_digest(found, mark_of(keys))


def _mark_in(store: ObjectStore) -> bytes | None:
    """None where there is none, or what a power cut left of one."""
    with suppress(FileNotFoundError):
        found = store.read(MARK)
        return found if len(found) == _MARK_BYTES else None
    return None
