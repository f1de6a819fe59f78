"""What callers made this process hold goes back to the system once they have gone; glibc would keep it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
from collections.abc import Callable
from functools import cache
from typing import Any, Final

_LOOK_EVERY_S: Final = 10.0
# Above the least that it held: an hour's work adds less, what hostile peers leave behind is more.
_GROWN_BYTES: Final = 64 * 2**20
_STATM: Final = "/proc/self/statm"
_STATM_BYTES_MAX: Final = 256  # seven numbers


def trimmer() -> Callable[[], Any] | None:
    """What gives back to the system all that is free, in up to 40 ms; None: not with this library of C."""
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if trim is None else lambda: trim(0)


async def give_back() -> None:
    """Now and again while the process is far above what it needs, until cancelled. With glibc alone."""
    trim = trimmer()
    if trim is None:
        await asyncio.Event().wait()
        return
    least_bytes = resident_bytes()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        least_bytes = await asyncio.to_thread(_given_back, trim, least_bytes)


def _given_back(trim: Callable[[], Any], least_bytes: int) -> int:
    """The least that was held, now included."""
    if resident_bytes() - least_bytes > _GROWN_BYTES:
        trim()
    return min(least_bytes, resident_bytes())


def resident_bytes() -> int:
    """What this process has in memory now. After the first call it blocks nothing: 3 µs, and no disk."""
    return int(os.pread(_statm(), _STATM_BYTES_MAX, 0).split()[1]) * resource.getpagesize()


@cache
def _statm() -> int:
    """Open for as long as the process is: to open it takes eight times as long as to read it."""
    return os.open(_STATM, os.O_RDONLY)
