"""Waiting for what a real process does."""

from __future__ import annotations

import time
from collections.abc import Callable

WITHIN_S = 30.0  # supervisord looks every five seconds


def until(condition: Callable[[], bool]) -> None:
    """Ask until it is true. Fails the test when time is over."""
    deadline_s = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
