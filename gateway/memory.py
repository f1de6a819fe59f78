"""What callers made this process hold goes back to the system once they have gone; glibc would keep it."""

from __future__ import annotations

import asyncio
import ctypes
import resource
from pathlib import Path
from typing import Any, Final

_LOOK_EVERY_S: Final = 10.0
# Above the least that it held: an hour's work adds less, what hostile peers leave behind is more.
_GROWN_BYTES: Final = 64 * 2**20
_STATM: Final = Path("/proc/self/statm")


async def give_back() -> None:
    """Now and again while the process is far above what it needs, until cancelled. With glibc alone."""
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        await asyncio.Event().wait()
    least_bytes = _resident_bytes()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        least_bytes = await asyncio.to_thread(_given_back, trim, least_bytes)


def _given_back(trim: Any, least_bytes: int) -> int:
    """The least that was held, now included."""
    if _resident_bytes() - least_bytes > _GROWN_BYTES:
        trim(0)
    return min(least_bytes, _resident_bytes())


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()
