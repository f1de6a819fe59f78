"""How many calls are worked on at once: beyond the bound a call is refused at once, not queued.

A queue in front of a full house only turns refusals into missed deadlines; a caller who
is told so at once can go to another gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gateway import errors

# About the time in which a full house of calls is answered.
_RETRY_AFTER_S: Final = 1.0


class Shedder:
    def __init__(self, calls_in_flight_max: int) -> None:
        self._max = calls_in_flight_max
        self.in_flight = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one call. Raises Overloaded when there is none."""
        if self.in_flight >= self._max:
            raise errors.Overloaded(
                f"{self._max} calls are being answered already",
                wanted=f"call again in {_RETRY_AFTER_S:g} s",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
