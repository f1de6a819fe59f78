"""A stream on which nothing comes back although something was asked: who hangs is told from who has nothing to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from amulet_client.errors import Unreachable


class Timer(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> object: ...


def in_a_thread(seconds: float, happen: Callable[[], None]) -> Timer:
    timer = threading.Timer(seconds, happen)
    timer.daemon = True
    timer.start()
    return timer


class StallWatch:
    """Calls `on_stall` when requests wait and nothing came back for `seconds`. Safe to use from two threads."""

    def __init__(
        self,
        seconds: float | None,
        on_stall: Callable[[], object],
        *,
        timer: Callable[[float, Callable[[], None]], Timer] = in_a_thread,
    ) -> None:
        """seconds: None: it never does.  timer: what begins one; a loop has its own, `call_later`."""
        self._seconds, self._on_stall, self._begin = seconds, on_stall, timer
        self._lock = threading.Lock()
        self._waiting = 0
        self._timer: Timer | None = None
        self.stalled = False

    def asked(self) -> None:
        with self._lock:
            self._waiting += 1
            if self._timer is None:
                self._start()

    def came(self) -> None:
        with self._lock:
            self._waiting -= 1
            self._stop()
            if self._waiting > 0:
                self._start()

    def end(self) -> None:
        with self._lock:
            self._stop()

    def error(self, address: str) -> Unreachable:
        """What a stream that stalled ends with."""
        return Unreachable(
            f"no answer from the gateway at {address}: DEADLINE_EXCEEDED: nothing came back for {self._seconds:g} s"
        )

    def _start(self) -> None:
        if self._seconds is not None:
            self._timer = self._begin(self._seconds, self._fire)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self.stalled = True
        self._on_stall()
