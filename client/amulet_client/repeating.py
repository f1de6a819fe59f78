"""Whether a call that failed is made again: what had no effect, or can have none a second time.

Readings and feedback, which always carries a key, are repeated by gRPC (`connection.SERVICE_CONFIG`). A prediction
without a key leaves an event each time, and gRPC cannot tell a gateway that refused from a connection that broke
when the event was durable already. So predictions are repeated here: under a key as readings are; without one only
where the gateway itself refused, or nothing was sent.
"""

from __future__ import annotations

import random
import time
from typing import Final

from amulet_client.connection import BACKOFF_FACTOR, BACKOFF_S, BACKOFF_S_MAX, TRIES_MAX, ConnectionOptions
from amulet_client.errors import AmuletError, Refused, Unreachable

_JITTER_RATIO: Final = 0.2


def had_no_effect(error: AmuletError) -> bool:
    """Whether a call failed for now and certainly left nothing behind."""
    return not error.sent if isinstance(error, Unreachable) else _is_unavailable(error)


class Attempts:
    """The attempts of one call. Begins its time when it is made."""

    def __init__(self, options: ConnectionOptions, *, tries_max: int = 1, keyed: bool = False) -> None:
        """tries_max: soon after one another, within one `timeout_s`.  keyed: a second one has no effect of its own."""
        self._options, self._tries_max, self._keyed = options, tries_max, keyed
        self._waited_s = 0.0
        self._begin()

    @classmethod
    def of_prediction(cls, options: ConnectionOptions, key: str) -> Attempts:
        """key: its idempotency key; empty: it has none."""
        return cls(options, tries_max=TRIES_MAX, keyed=bool(key))

    def _begin(self) -> None:
        self._tries = 0
        self._ends_at_s = time.monotonic() + self._options.timeout_s

    @property
    def left_s(self) -> float:
        """What the next attempt may take."""
        return max(0.0, self._ends_at_s - time.monotonic())

    def wait_s(self, error: AmuletError) -> float | None:
        """How long to wait before the next attempt; None: the error is the answer."""
        self._tries += 1
        if self._tries < self._tries_max and (had_no_effect(error) or (self._keyed and _is_unavailable(error))):
            wait_s = min(BACKOFF_S * BACKOFF_FACTOR ** (self._tries - 1), BACKOFF_S_MAX)
            wait_s *= random.uniform(1 - _JITTER_RATIO, 1 + _JITTER_RATIO)  # noqa: S311  # keeps callers apart, no secret
            return wait_s if wait_s < self.left_s else None
        asked_s = self._options.wait_s(error, self._waited_s)
        if asked_s is not None:
            self._waited_s += asked_s
            self._begin()
            self._ends_at_s += asked_s
        return asked_s


def _is_unavailable(error: AmuletError) -> bool:
    return isinstance(error, Refused | Unreachable) and error.code == "UNAVAILABLE"
