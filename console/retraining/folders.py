"""Where the photographs of a job lie in the clear while it runs, and that none of them stays.

    AMULET_TRAINING_DIR/job-12/photographs/job12/…    what was exported
    AMULET_TRAINING_DIR/job-12/…                      the run, the archive, the logs

Whoever works in a folder holds a lock on it that the kernel lets go of when the process ends, however it
ends. What nobody holds is swept: by every worker when it starts, and by the beat.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from django.conf import settings

PHOTOGRAPHS: Final = "photographs"
_PREFIX: Final = "job-"
_PRIVATE: Final = 0o700


@contextmanager
def work_folder(job_id: int) -> Iterator[Path]:
    """A new folder for this job, readable to nobody else, which is gone when the block is left. Raises OSError."""
    root: Path = settings.AMULET.training_dir
    root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    # A name of its own: in a container a worker that died has the number of the one that follows.
    unlocked, folder = Path(tempfile.mkdtemp(prefix="new-", dir=root)), root / f"{_PREFIX}{job_id}"
    with _locked(unlocked) as mine:
        assert mine
        unlocked.rename(folder)  # a sweep sees it only from here on, with its lock
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def sweep() -> int:
    """Remove the folders that no process works in. Returns how many. Raises OSError."""
    gone = 0
    for folder in settings.AMULET.training_dir.glob(f"{_PREFIX}*"):
        try:
            with _locked(folder) as mine:
                if mine:
                    shutil.rmtree(folder)
                    gone += 1
        except FileNotFoundError:  # its job ended meanwhile
            continue
    return gone


def photographs_of(prediction_ids: frozenset[UUID]) -> int:
    """How many photographs of these predictions lie on this machine now."""
    found = settings.AMULET.training_dir.glob(f"{_PREFIX}*/{PHOTOGRAPHS}/**/*.png")
    names = {str(key) for key in prediction_ids}
    return sum(any(part in names for part in path.stem.split("_")) for path in found)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this process holds the folder now."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
