"""Files and folders that take their place in one step, whole and on the disk: nobody ever finds half of one.

    .NAME-xxxxxxxx/   beside NAME, as long as somebody makes one
        new           what is made
        old           what it takes the place of, where the file system cannot exchange two folders

Whoever works holds a lock (flock) on the hidden folder, and the system lets it go when the process ends, however that
ends. What a killed process left is known by that, and goes when NAME is made again.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from model_store import leftovers
from protos.durable import sync_folder

_NEW: Final = "new"
_OLD: Final = "old"
_NAME_BYTES_MAX: Final = 240  # of 255 that a name may have; ours is ten longer
_AT_FDCWD: Final = -100  # of Linux: paths are as they are given
_RENAME_EXCHANGE: Final = 2


@contextlib.contextmanager
def folder(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder to write to; it becomes `out` at the end, or vanishes on an error. Parents are made.

    replace: in place of whatever is there; else of nothing or of an empty folder.
    Whenever the process is killed, `out` is what it was or the new one, whole. Where the file system cannot exchange
    two folders there is a moment without either; `clear`, with which the next call begins, then puts back what was
    there. What a killed process left beside `out` goes with it.
    Raises OSError, which names `out` where there is no room.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(out) as scratch:
        new = scratch / _NEW
        new.mkdir()
        yield new
        _sync(new)
        if replace:
            _put(new, out, scratch / _OLD)
        else:
            new.rename(out)
        _sync_name(out)


@contextlib.contextmanager
def file(out: Path) -> Iterator[Path]:
    """A name to make a file under; it becomes `out` at the end, in place of one that is there, or vanishes on an error.

    Whenever the process is killed, `out` is what it was or the new one, whole. Raises OSError, which names `out` where
    there is no room.
    """
    with _scratch(out) as scratch:
        new = scratch / _NEW
        yield new
        _sync_file(new)
        new.replace(out)
        _sync_name(out)


def clear(out: Path) -> None:
    """Put back what a killed process had moved away, and take away what else it left beside `out`."""
    name = re.compile(rf"{re.escape(_prefix(out))}[a-z0-9_]{{8}}")  # as mkdtemp ends them
    with contextlib.suppress(OSError):  # this spares space: where it fails the work goes on
        for scratch in [path for path in out.parent.iterdir() if name.fullmatch(path.name)]:
            handle = _locked(scratch)
            if handle is None:  # somebody writes there now, or it is no folder
                continue
            try:
                found = {path.name for path in scratch.iterdir()}
                if not found <= {_NEW, _OLD}:
                    continue
                if _OLD in found and not os.path.lexists(out):
                    (scratch / _OLD).rename(out)
                shutil.rmtree(scratch, ignore_errors=True)
            finally:
                os.close(handle)


@contextlib.contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    clear(out)
    with leftovers.named(out, below=out.with_name(_prefix(out))):
        scratch, mine = _held(out)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            if mine is not None:
                os.close(mine)


def _held(out: Path) -> tuple[Path, int | None]:
    """A new folder beside `out`, and what holds it; None where the file system knows no locks."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        handle = _locked(scratch, wait=True)
        with contextlib.suppress(FileNotFoundError):
            if handle is None and scratch.lstat():
                return scratch, None
            if handle is not None and os.path.samestat(os.fstat(handle), scratch.lstat()):
                return scratch, handle
        if handle is not None:  # somebody else took it for one that was left, as it was empty and not yet held
            os.close(handle)


def _prefix(out: Path) -> str:
    name = out.name
    if len(os.fsencode(name)) > _NAME_BYTES_MAX:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}-"


def _put(new: Path, out: Path, old: Path) -> None:
    """The new folder in the place of `out`; an earlier one is then beside it, under one name or the other."""
    if not os.path.lexists(out):
        new.rename(out)
    elif not _exchanged(new, out):
        out.rename(old)
        try:
            new.rename(out)
        except BaseException:  # an interrupt, too: whoever called throws `old` away
            old.rename(out)
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Both at once, so that nobody ever finds neither; False where that cannot be done, and nothing was."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(exchange(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)


def _sync(folder: Path) -> None:
    """Everything below on the disk: a name that outlives a power cut must not lead to files without their content."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync_file(Path(place, name))
        sync_folder(Path(place))


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_name(out: Path) -> None:
    with contextlib.suppress(PermissionError):  # a folder that may be written to and not be read
        sync_folder(out.parent)


def _locked(folder: Path, *, wait: bool = False) -> int | None:
    """An open folder that nobody else can lock until it is closed, or its process ends; None where it cannot be."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle
