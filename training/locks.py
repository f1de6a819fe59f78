"""One command at a time in one place. The lock is the kernel's: it ends with the process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from training.errors import SettingWrong


@contextlib.contextmanager
def held(lock: Path, place: Path) -> Iterator[None]:
    """Meanwhile nobody else holds it. lock: a file that is made and taken away; one that is left is no hindrance.

    Raises SettingWrong where somebody else holds it, who works in `place`; OSError.
    """
    handle = _taken(lock)
    if handle is None:
        raise SettingWrong(f"another command writes to {place}: name another folder, or wait until it is done")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _taken(lock: Path) -> int | None:
    """An open file that holds the lock; None where another has it."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), lock.stat()):  # else its last holder has just removed it
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
