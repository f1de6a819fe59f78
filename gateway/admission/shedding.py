"""How many calls are worked on at once: beyond the bound a call is refused at once, not queued.

A queue in front of a full house only turns refusals into missed deadlines; a caller who
is told so at once can go to another gateway.

Two bounds. A burst may fill the whole house, for it is over soon. A queue that *stands* is
no burst: it makes everybody late and nobody faster (Nichols & Jacobson 2012, "Controlling
Queue Delay"). Once more calls than the comfortable number have been under way for STANDING_S
and the house was never half empty meanwhile, only the comfortable number is let in, until
nobody had to be refused for STANDING_S. That it is half empty does not end it: answers come
in batches.

Comfortable is what is answered within COMFORT_S at the pace measured lately (Little's law),
and never less than keeps every core busy.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway import errors

COMFORT_S: Final = 0.1
STANDING_S: Final = 1.0
CALLS_A_CORE: Final = 8  # decoding, the graph, the journal and the network each hold some
# About the time in which a full house of calls is answered.
_RETRY_AFTER_S: Final = 1.0
_PACE_SECONDS: Final = 30  # the best of so many past seconds is what we can do


class Shedder:
    def __init__(
        self, calls_in_flight_max: int, *, cores: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max, self._least = calls_in_flight_max, min(calls_in_flight_max, CALLS_A_CORE * cores)
        self._clock = clock
        self._answered: deque[int] = deque([0], maxlen=_PACE_SECONDS)  # in each second, the last one not over yet
        self._second_began_s = clock()
        self._crowded_since_s: float | None = None
        self._standing_until_s = clock()
        self.in_flight = 0

    @property
    def comfortable(self) -> int:
        """How many calls at once nobody has to wait long for."""
        return min(self._max, max(self._least, round(max(self._answered) * COMFORT_S)))

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one call. Raises Overloaded when there is none."""
        places = self._places()
        if self.in_flight >= places:
            raise errors.Overloaded(
                f"{places} calls are being answered already",
                wanted=f"call again in {_RETRY_AFTER_S:g} s",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.in_flight += 1
        try:
            yield
            self._count()
        finally:
            self.in_flight -= 1
            if self._crowded_since_s is not None and self.in_flight < self.comfortable / 2:
                self._crowded_since_s = None

    def _places(self) -> int:
        if self.in_flight < self.comfortable:
            return self._max
        now_s = self._clock()
        if self._crowded_since_s is None:
            self._crowded_since_s = now_s
        if now_s < self._standing_until_s or now_s - self._crowded_since_s >= STANDING_S:
            self._standing_until_s = now_s + STANDING_S
            return self.comfortable
        return self._max

    def _count(self) -> None:
        now_s = self._clock()
        passed = int(now_s - self._second_began_s)
        if passed:
            self._second_began_s += passed
            self._answered.extend([0] * min(passed, _PACE_SECONDS))
        self._answered[-1] += 1
