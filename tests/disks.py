"""A disk that fills up, for the process that runs the test."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Inside, a write beyond that size of any file fails halfway, as on a full disk: "File too large".

    The kernel also sends a signal, which Python ignores. Nothing is compiled to the disk meanwhile: Python would keep
    half a module, and every later process ends on it with "marshal data too short".
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    compiling, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = compiling
