"""`amulet` as a limited process: heard while it runs, ended with everything that it started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# What a program needs from our environment: nothing of ours, no address and no secret.
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "OMP_NUM_THREADS")
_POLL_S: Final = 1.0
_TAIL_BYTES: Final = 16_384
_PROGRESS: Final = re.compile(r"([^\t]*)\t(\d+)\t(\d+)")
# Files are named after predictions, whose ids lead to people.
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

leaving: Final = threading.Event()  # set when this worker was asked to end


class Stopped(Exception):
    """The job is no longer ours: what ran was ended."""


class Leaving(Exception):
    """This worker goes away: what ran was ended, and the job is for the next one."""


class TooLong(Exception):
    """It ran past its time and was ended."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take."""

    seconds_max: float
    memory_mib_max: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What a program says that it is at."""

    step: str
    done: int
    total: int


Heard = Callable[[Progress], bool]  # False: stop


def run(command: Sequence[str], *, folder: Path, limits: Limits, heard: Heard) -> tuple[int, str]:
    """Run a program in a folder to its end. Returns its exit status and the end of what it said, without ids.

    heard: called about once a second. Raises Stopped, Leaving and TooLong, each when nothing of it runs any
    more; OSError.
    """
    log = folder / f"{Path(command[0]).name}.log"
    progress = Progress("", 0, 0)
    ends_at_s = time.monotonic() + limits.seconds_max
    launched = (sys.executable, "-P", "-m", "console.retraining.launch", str(os.getpid()), str(limits.memory_mib_max))
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*launched, *command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ} | {"TMPDIR": str(folder)},
            start_new_session=True,
        )
    try:
        while not _has_ended(process):
            progress = _newest(log) or progress
            if not heard(progress):
                raise Stopped
            if time.monotonic() > ends_at_s:
                raise TooLong
            if leaving.wait(_POLL_S):
                raise Leaving
    finally:
        status = _end(process)
    return status, tail(log)


def tail(log: Path) -> str:
    """The end of what a program said, without its progress, without ids and without where it ran."""
    lines = [line for line in _end_of(log).splitlines() if not _PROGRESS.fullmatch(line)]
    return _ID.sub("…", "\n".join(lines).replace(f"{log.parent}{os.sep}", ""))


def _newest(log: Path) -> Progress | None:
    for line in reversed(_end_of(log).splitlines()):
        if found := _PROGRESS.fullmatch(line):
            return Progress(found[1], int(found[2]), int(found[3]))
    return None


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read().decode(errors="replace")


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    # It stays a zombie until its group was ended: only so long is its number certainly its own.
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> int:
    """End what is left of its group. Returns its exit status."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
