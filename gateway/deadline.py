"""How long a call may take: the caller's own wish, capped by ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway import errors


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock."""

    ends_at_s: float

    @classmethod
    def of_call(cls, remaining_s: float | None, *, request_s_max: float) -> Deadline:
        """remaining_s: what gRPC says; None: the caller set no deadline, 0.0: it is spent."""
        budget_s = request_s_max if remaining_s is None else min(remaining_s, request_s_max)
        return cls(time.monotonic() + budget_s)

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
