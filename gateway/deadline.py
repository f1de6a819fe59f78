"""How long a call may take: the caller's own wish, capped by ours.

An answer that leaves in the very moment in which its caller stops waiting is lost, and so is the reason
of a refusal. So a part of what the caller allows is kept back for the way home: for what lies between
the gateway and the far end, which nobody here can measure, and for a loop or a caller that is late.
It is a share, since who has a short deadline is near; with a floor, below which a busy machine alone
would use it up, and a ceiling, for beyond it no network is that far (decision 0128).

An answer that only waits for the disk is the exception: to give it up saves nobody any time, and loses
the answer. It may use half of the way home too (decision 0299).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gateway import errors

WAY_HOME_SHARE: Final = 0.1
WAY_HOME_S_MIN: Final = 0.005
WAY_HOME_S_MAX: Final = 0.5


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock.

    way_home_s: what the caller still waits beyond it, as far as we know.
    """

    ends_at_s: float
    way_home_s: float = 0.0

    @classmethod
    def of_call(cls, remaining_s: float | None, *, request_s_max: float) -> Deadline:
        """When the answer has to leave.

        remaining_s: what gRPC says; None: the caller set no deadline, 0.0: it is spent.
        request_s_max: our own bound, with which nobody at the far end breaks off.
        """
        if remaining_s is None:
            return cls(time.monotonic() + request_s_max)
        kept_s = way_home_s(remaining_s)
        return cls(time.monotonic() + min(remaining_s - kept_s, request_s_max), kept_s)

    def sooner(self, by_s: float) -> Deadline:
        """For the steps before one that needs so much time itself."""
        return Deadline(self.ends_at_s - by_s, self.way_home_s + by_s)

    @property
    def last(self) -> Deadline:
        """For the step that only waiting is left of: half of the way home is still there for an answer in time."""
        half_s = self.way_home_s / 2
        return Deadline(self.ends_at_s + half_s, half_s)

    @property
    def left_s(self) -> float:
        return self.ends_at_s - time.monotonic()

    @asynccontextmanager
    async def while_(self, doing: str) -> AsyncIterator[None]:
        """Cancel the body when the time is over. Raises DeadlineExceeded, naming what it was doing."""
        left_s = self.left_s
        if left_s <= 0:
            raise errors.DeadlineExceeded(f"the deadline passed before {doing}", wanted="allow more time")
        try:
            async with asyncio.timeout(left_s) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise errors.DeadlineExceeded(f"the deadline passed while {doing}", wanted="allow more time") from None


def way_home_s(remaining_s: float) -> float:
    """What is kept back of so much time: never more than half of it."""
    return min(max(WAY_HOME_SHARE * remaining_s, WAY_HOME_S_MIN), WAY_HOME_S_MAX, remaining_s / 2)
