"""How long a step takes these days, so that a wish which cannot be met in time is not begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

_MEAN_GAIN: Final = 1 / 8
_DEVIATION_GAIN: Final = 1 / 4


class Pace:
    """Smoothed duration and deviation of one step, as TCP estimates its timeout (RFC 6298 section 2)."""

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self._deviation_s = 0.0

    @property
    def expected_s(self) -> float:
        """Almost always enough; 0 as long as nothing was measured."""
        return 0.0 if self._mean_s is None else self._mean_s + 4 * self._deviation_s

    def add(self, took_s: float) -> None:
        if self._mean_s is None:
            self._mean_s, self._deviation_s = took_s, took_s / 2
            return
        self._deviation_s += _DEVIATION_GAIN * (abs(took_s - self._mean_s) - self._deviation_s)
        self._mean_s += _MEAN_GAIN * (took_s - self._mean_s)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the body when it succeeds; a failure says nothing about the pace."""
        began = monotonic()
        yield
        self.add(monotonic() - began)
