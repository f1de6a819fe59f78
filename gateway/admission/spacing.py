"""Who is refused and calls again at once hears of it later: the refusals of one caller leave together, APART_S apart.

A refusal says when to call again (RetryInfo). A caller who does not listen and asks anew in the same moment makes of
each of his calls a loop that turns as fast as we refuse, and such loops take the processor that answers need. So the
first refusal of a caller leaves at once, and what of his is refused within APART_S after it leaves together at the end
of that time: each of his loops turns once in it, and refusals that leave in one turn of the event loop cost less than
one by one (decision 0232).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gateway import errors

APART_S: Final = 0.05
CALLERS_MAX: Final = 10_000  # remembered; the next refusal of who is forgotten leaves at once


class Spacing:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._leave_s: dict[str, float] = {}  # caller -> when his newest refusals left or will leave, oldest first

    def hold_s(self, caller: str, error: Exception) -> float:
        """How long this error waits before the caller hears of it: 0 to APART_S.

        Only what refuses the caller waits; what is wrong with a request or with us is said at once.
        """
        if not isinstance(error, errors.CallerRefused):
            return 0.0
        now_s = self._clock()
        leaves_s = self._leave_s.get(caller, float("-inf"))
        if leaves_s <= now_s:
            self._leave_s.pop(caller, None)
            leaves_s = max(now_s, leaves_s + APART_S)
            self._leave_s[caller] = leaves_s
            if len(self._leave_s) > CALLERS_MAX:
                del self._leave_s[next(iter(self._leave_s))]
        return leaves_s - now_s
