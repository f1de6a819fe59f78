"""A stream on which nothing comes back although something was asked: who hangs is told from who has nothing to do."""

from __future__ import annotations

import threading
from collections.abc import Callable


class StallWatch:
    """Calls `on_stall` when requests wait and nothing came back for `seconds`. Safe to use from two threads."""

    def __init__(self, seconds: float | None, on_stall: Callable[[], object]) -> None:
        """seconds: None: it never does."""
        self._seconds, self._on_stall = seconds, on_stall
        self._lock = threading.Lock()
        self._waiting = 0
        self._timer: threading.Timer | None = None
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

    def _start(self) -> None:
        if self._seconds is None:
            return
        self._timer = threading.Timer(self._seconds, self._fire)
        self._timer.daemon = True
        self._timer.start()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self.stalled = True
        self._on_stall()
