"""The file of the master key: read whenever it changed, and changed in place for a rotation (decision 0273). No Django.

All processes of a console that share the file take a new key without a restart, and before anything is wrapped under
it: who reads a row and then the keys has those under which the row was wrapped.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from console.vault.cipher import KEY_BYTES, KeyUnreadable, MasterKeys, as_file, key_id, load_master_keys
from protos.durable import sync_folder

_log = logging.getLogger(__name__)
_Version = tuple[int, int, int]


class KeyRefused(ValueError):
    """What is asked of a key file cannot be done, as one sentence."""


class KeyFile:
    """The keys of one file for a process. Safe for several threads."""

    def __init__(self) -> None:
        self._known: tuple[Path, _Version | None, MasterKeys] | None = None

    def keys(self, path: Path) -> MasterKeys:
        """As the file has them now. Raises KeyUnreadable, OSError when it never could be read.

        A running process goes on with what it has where the file is away or spoilt, or is another vault's by now: who
        starts under such a one is told, and who runs would record everybody anew.
        """
        known = self._known
        if known is None or known[0] != path:
            version = _version_of(path)  # first: a file that changes while it is read is read again
            keys = load_master_keys(path)
            self._known = (path, version, keys)
            return keys
        try:
            version = _version_of(path)
        except OSError:
            return known[2]
        if version == known[1]:
            return known[2]
        try:
            keys = load_master_keys(path)
        except (KeyUnreadable, OSError) as error:
            _log.error("the vault's key file changed and cannot be used; the keys from before are", extra=_why(error))
            keys = known[2]
        if keys.look_up != known[2].look_up:
            _log.error("the vault's key file became another vault's; the keys from before are used on")
            keys = known[2]
        self._known = (path, version, keys)
        return keys


def add(path: Path, *, source: Path | None = None) -> tuple[str, ...]:
    """Put a new key beside the others, which opens and does not wrap yet. Returns the ids of what came.

    source: a key file of this vault from before, whose keys come instead. Raises KeyRefused, KeyUnreadable, OSError.
    """
    with _changed(path) as change:
        keys = change.keys
        if source is None:
            new = [secrets.token_bytes(KEY_BYTES)]
            while key_id(new[0]) in keys.ids:
                new = [secrets.token_bytes(KEY_BYTES)]
        else:
            other = load_master_keys(source)
            if other.look_up != keys.look_up:
                raise KeyRefused(f"{source} is of another vault than {path}: name a file that this vault had")
            new = [key for key in (other.wrapping, *other.opening) if key_id(key) not in keys.ids]
            if not new:
                raise KeyRefused(f"{path} holds every key of {source} already")
        change.keys = replace(keys, opening=(*keys.opening, *new), rotated=True)
    return tuple(key_id(key) for key in new)


def use(path: Path, *, wanted: str) -> None:
    """Let a key that the file holds wrap from now on; the one that did only opens. Raises as `add` does."""
    with _changed(path) as change:
        keys = change.keys
        _check_held(keys, wanted, path)
        if wanted == key_id(keys.wrapping):
            raise KeyRefused(f"the key {wanted} wraps already")
        (wrapping,) = (key for key in keys.opening if key_id(key) == wanted)
        others = (keys.wrapping, *(key for key in keys.opening if key != wrapping))
        change.keys = replace(keys, wrapping=wrapping, opening=others, rotated=True)


def remove(path: Path, *, wanted: str) -> None:
    """Take a key that only opens out of the file: nothing may be wrapped under it. Raises as `add` does."""
    with _changed(path) as change:
        check_removable(change.keys, wanted, path)
        change.keys = replace(
            change.keys, opening=tuple(key for key in change.keys.opening if key_id(key) != wanted), rotated=True
        )


def check_removable(keys: MasterKeys, wanted: str, path: Path) -> None:
    """Raises KeyRefused for a key that is not there, or that wraps."""
    _check_held(keys, wanted, path)
    if wanted == key_id(keys.wrapping):
        raise KeyRefused(f"the key {wanted} wraps: let another one, as `amulet vault use` does, and remove it then")


def _check_held(keys: MasterKeys, wanted: str, path: Path) -> None:
    if wanted not in keys.ids:
        raise KeyRefused(f"{path} holds no key {wanted!r}; it holds {', '.join(keys.ids)}")


class _Change:
    def __init__(self, keys: MasterKeys) -> None:
        self.keys = keys


@contextmanager
def _changed(path: Path) -> Iterator[_Change]:
    """Read it, and write what its user made of the keys in its place, whole or not at all. One at a time."""
    place = path.resolve()
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        change = _Change(load_master_keys(place))
        yield change
        _write(place, as_file(change.keys))
    finally:
        os.close(folder)


def _write(path: Path, content: bytes) -> None:
    was = path.stat()
    temporary = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        temporary.unlink()
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(handle, was.st_mode & 0o770)  # never for everybody, whatever it was
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(handle, was.st_uid, was.st_gid)  # root keeps it the console's
            os.fsync(handle)
        temporary.rename(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    sync_folder(path.parent)


def _version_of(path: Path) -> _Version:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _why(error: Exception) -> dict[str, str]:
    return {"error": error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)}
