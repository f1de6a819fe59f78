"""Finds calls of the gateway's own code that block the event loop's thread."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import gateway

_OURS: Final = str(Path(gateway.__file__).parent) + os.sep
_BLOCKING: Final = frozenset(
    {
        "open",
        "time.sleep",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "os.listdir",
        "os.scandir",
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.rmdir",
        "os.truncate",
        "fcntl.flock",
        "fcntl.lockf",
        "sqlite3.connect",
    }
)
# A hook cannot be taken away again: it stays, and looks only while somebody listens.
_listeners: list[BlockingCalls] = []
_hooked = False


class BlockingCalls:
    """What was found while this listened: for each blocking call its name and its stack, innermost first."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._thread = threading.get_ident()

    def note(self, what: str, frame: FrameType | None) -> None:
        if threading.get_ident() != self._thread or asyncio._get_running_loop() is None:
            return
        stack = []
        while frame is not None:  # by hand: the traceback module opens files itself
            stack.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
            frame = frame.f_back
        if any("importlib" in entry or "/linecache.py" in entry for entry in stack):
            return  # a module that is imported once; the source lines of an internal error's trace, read once
        if any(entry.startswith(_OURS) for entry in stack):
            self.found.append("\n".join((what, *stack[:12])))


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _listeners or event not in _BLOCKING:
        return
    if event == "socket.connect" and arguments[0].gettimeout() == 0:
        return  # does not wait
    for listener in _listeners:
        listener.note(event, sys._getframe(1))


@contextmanager
def watched_for_blocking_calls() -> Iterator[BlockingCalls]:
    """Listen in this thread. Disk syncs are seen by replacing the two functions of `os` meanwhile."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    listener = BlockingCalls()
    real = {name: getattr(os, name) for name in ("fsync", "fdatasync")}

    def watched(name: str) -> Any:
        def call(descriptor: int) -> None:
            listener.note(f"os.{name}", sys._getframe(1))
            real[name](descriptor)

        return call

    _listeners.append(listener)
    for name in real:
        setattr(os, name, watched(name))
    try:
        yield listener
    finally:
        for name, function in real.items():
            setattr(os, name, function)
        _listeners.remove(listener)
