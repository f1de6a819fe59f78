"""What a process has on the disk while it works, and what one that was killed leaves of it.

Whoever works holds a lock (flock) on its own file or folder: the system lets it go when the process ends, however that
ends. What is a day old and held by nobody is swept. Its age alone would not do: a wall clock that is set a day on, or a
file server whose clock is behind, makes old what was begun this minute. Where a file system knows no locks age decides.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

NEW: Final = ".new-"  # begins the name of a small file, among many, until it has its own
_GIVEN_UP_S: Final = 86_400.0
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# EBADF: over NFS nothing can be held that is not open for writing, as no folder is.
_NO_LOCKS: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def hold(descriptor: int) -> None:
    """Keep an open file or folder from being swept until it is closed. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


@contextmanager
def held_folder(prefix: str) -> Iterator[Path]:
    """A new folder under TMPDIR that nobody sweeps while it is in use; gone with its content afterwards.

    Others of that prefix that killed processes left are swept first.
    Raises OSError when it cannot be made, or has no room: that names the folder that it is in.
    """
    within = Path(gettempdir())
    sweep(within, prefix)
    with named(within, below=within / prefix), TemporaryDirectory(prefix=prefix) as name:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            hold(descriptor)
            yield Path(name)
        finally:
            os.close(descriptor)


@contextmanager
def named(place: Path, *, below: Path | None = None) -> Iterator[None]:
    """An error of the disk names `place` where it names nothing, as that of a write to an open file does.

    Of nameless errors only those that say that there is no room: others may be of a file that is read.
    below: how paths begin that mean nothing to whoever asked; an error that names one of them names `place`, too.
    """
    try:
        yield
    except OSError as error:
        said = error.filename2 or error.filename
        ours = below is not None and isinstance(said, str) and said.startswith(str(below))
        if error.errno is not None and (ours or (said is None and error.errno in _NO_ROOM)):
            raise OSError(error.errno, os.strerror(error.errno), str(place)) from error
        raise


def sweep(folder: Path, prefix: str) -> None:
    """Remove this user's files and folders with such names that are a day old and held by nobody."""
    for path in folder.glob(f"{prefix}*"):
        with suppress(OSError):  # somebody works on it, another process sweeps it, or it is another user's
            found = path.lstat()
            of_ours = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
            if of_ours and found.st_uid == os.geteuid() and time.time() - found.st_mtime > _GIVEN_UP_S:
                _remove(path)


def _remove(path: Path) -> None:
    """Raises OSError, BlockingIOError where somebody holds it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: over NFS no more can be had for reading
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(descriptor)
