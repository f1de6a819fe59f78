"""`python -m console.retraining.launch PARENT MEMORY_MIB PROGRAM…`: become a program that cannot do harm.

It runs below everything that serves, may not fill the memory, leaves no image of its memory behind, in
which photographs would be, and is killed by the kernel when the worker that started it dies.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_NICENESS: Final = 10


def main() -> None:
    parent, memory_mib, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # killed before the kernel was told
        sys.exit(1)
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mib * 2**20, memory_mib * 2**20))
    os.execv(program[0], program)  # noqa: S606 - no shell, and the program is the operator's setting


if __name__ == "__main__":
    main()
