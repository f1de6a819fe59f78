"""A wall clock of one's own for real processes, moved while they run: Debian's libfaketime between them and the kernel.

    clock = MovedClock.make(folder)        # skips the test where the library is not installed
    subprocess.Popen([clock.python, ...])  # and everything that it starts
    clock.move(86_400)                     # from now on they live a day later

The monotonic clock stays the machine's, and so do the times of files: nobody's are taken for a clock here.
A Java process gets nothing of it: TorchServe is started with an environment of its own.
"""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pytest

REPOSITORY: Final = Path(__file__).parents[2]
_PLACES: Final = (
    REPOSITORY / ".venv" / "faketime" / "usr" / "lib",  # where `make fault` puts it
    Path("/usr/lib"),
)
_SWITCH_MS: Final = str(round(1000 * sys.getswitchinterval()))
# The library takes the end of a sleep, which Python gives by the monotonic clock, for one by the wall clock.
_SLEEP: Final = """\
import select
import time


def _sleep(seconds, /):
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select((), (), (), seconds)


time.sleep = _sleep
"""


def _library() -> Path | None:
    named = os.environ.get("LIBFAKETIME")
    found = [Path(named)] if named else [path for place in _PLACES for path in place.glob("*/faketime/*MT.so.1")]
    return next(iter(found), None)


@dataclass(frozen=True, slots=True)
class MovedClock:
    """How far ahead of the machine's clock the processes under it are, in a file that they read at each look."""

    file: Path
    library: Path
    python: str  # this interpreter with all that is installed for it, and under the clock

    @classmethod
    def make(cls, folder: Path) -> Self:
        library = _library()
        if library is None:
            pytest.skip("libfaketime is not installed: make fault gets it, or apt-get install libfaketime")
        clock = cls(folder / "ahead", library, str(folder / "bin" / "python"))
        clock.move(0)
        packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        for made in (packages, folder / "bin"):
            made.mkdir(parents=True)
        installed = sysconfig.get_path("purelib")
        (packages / "installed.pth").write_text(
            f"{REPOSITORY}\n{REPOSITORY / 'client'}\nimport site; site.addsitedir({installed!r})\n"
        )
        (packages / "sitecustomize.py").write_text(_SLEEP)
        interpreter = Path(sys.executable).resolve()
        (folder / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\n")
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in clock.environment().items())
        python = Path(clock.python)
        # Named as itself, so that what it starts with `sys.executable` is under the clock too.
        python.write_text(f'#!/bin/bash\nexport {settings}\nexec -a "$0" {shlex.quote(str(interpreter))} "$@"\n')
        python.chmod(0o755)
        return clock

    def environment(self) -> Mapping[str, str]:
        """For processes that are not Python's."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # The library takes the end of a wait by the monotonic clock for one by the wall clock, long past: whoever
            # waited for the interpreter's lock asked for it thousands of times a second, with a look at the file each.
            "FAKETIME_WAIT_MS": _SWITCH_MS,
            "NO_FAKE_STAT": "1",
        }

    def move(self, ahead_s: int) -> None:
        """So far ahead of the machine's clock from now on; behind it where that is below 0."""
        aside = self.file.with_suffix(".aside")
        aside.write_text(f"{ahead_s:+d}\n")
        aside.rename(self.file)
