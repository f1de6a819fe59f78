"""Versions that see the same photographs as the one that answers, and are not heard.

A shadow never slows or fails an answer. It looks once the answer is durable, when fewer calls are in hand than
there are cores, and never on all of them; until then a few wait, of which the oldest gives way. What it says
follows in an event of its own. Under a load that leaves no core free shadows see little: `dropped` tells how much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway.answer import Conclusion
from gateway.background import Background
from gateway.errors import Refusal
from gateway.journal.errors import JournalError
from gateway.snapshot import ServedVersion

_log = structlog.get_logger(__name__)
WAITING_MAX: Final = 4  # each holds the pixels of a request's photographs
LOOK_S_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class ShadowAnswer:
    conclusion: Conclusion
    inference_s: float


Look = Callable[[], Coroutine[Any, Any, ShadowAnswer]]
Tell = Callable[[ShadowAnswer], Coroutine[Any, Any, Any]]


class Shadows:
    def __init__(self, background: Background, *, cores: int) -> None:
        self._background = background
        self._cores = cores
        self._at_once_max = max(1, cores - 1)  # a call that comes meanwhile finds a core
        self._in_hand = 0  # calls that are being answered
        self._running = 0
        self._waiting: deque[tuple[ServedVersion, Look, Tell]] = deque()
        self.answered = 0
        self.dropped = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around everything that a call costs until its answer is durable."""
        self._in_hand += 1
        try:
            yield
        finally:
            self._in_hand -= 1
            self._begin_what_may()

    def follow(self, version: ServedVersion, look: Look, tell: Tell) -> None:
        """Have a version look when there is room.

        look: raises a Refusal where the version does not answer.  tell: is given what it said; raises JournalError.
        """
        self._waiting.append((version, look, tell))
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._begin_what_may()

    def _begin_what_may(self) -> None:
        while self._waiting and self._running < self._at_once_max and self._in_hand + self._running < self._cores:
            self._running += 1
            self._background.start(self._one(*self._waiting.popleft()))

    async def _one(self, version: ServedVersion, look: Look, tell: Tell) -> None:
        kept = False
        try:
            await tell(await look())
            kept = True
        except (Refusal, JournalError) as error:
            _log.info("shadow_failed", model=version.model, version=version.version, why=str(error))
        except Exception:
            _log.exception("shadow_failed", model=version.model, version=version.version)
        finally:
            self.answered += kept
            self.dropped += not kept
            self._running -= 1
            self._begin_what_may()
