"""Versions that see the same photographs as the one that answers, and are not heard.

A shadow never slows or fails the answer: it runs beside it, at most `SHADOWS_MAX` at once,
is dropped when there is no place, and its answer joins the event if it is there by the time
the event is written; else it follows in an event of its own, so that slow answers are not the
ones that nobody sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway.answer import Conclusion
from gateway.background import Background
from gateway.errors import Refusal
from gateway.journal.errors import JournalError
from gateway.snapshot import ServedVersion

_log = structlog.get_logger(__name__)
SHADOWS_MAX: Final = 4  # a share of the backend that the answers can spare


@dataclass(frozen=True, slots=True)
class ShadowAnswer:
    conclusion: Conclusion
    inference_s: float


Look = Callable[[ServedVersion], Coroutine[Any, Any, ShadowAnswer]]


class Shadows:
    def __init__(self, background: Background) -> None:
        self._background = background
        self._running = 0
        self.answered = 0
        self.dropped = 0

    def start(self, versions: Sequence[ServedVersion], look: Look) -> list[asyncio.Future[ShadowAnswer | None]]:
        """Begin one look per version, as far as there are places. Returns at once."""
        begun = []
        for version in versions:
            if self._running >= SHADOWS_MAX:
                self.dropped += 1
                continue
            self._running += 1
            begun.append(self._background.start(self._one(version, look)))
        return begun

    def collect(
        self,
        begun: Sequence[asyncio.Future[ShadowAnswer | None]],
        late: Callable[[ShadowAnswer], Coroutine[Any, Any, Any]],
    ) -> list[ShadowAnswer]:
        """Those that are there now; each of the others is handed to `late` when it comes, if it does."""
        there = [future.result() for future in begun if future.done() and not future.cancelled()]
        answers = [answer for answer in there if answer is not None]
        self.answered += len(answers)
        self.dropped += len(there) - len(answers)
        for future in begun:
            if not future.done():
                self._background.start(self._follow(future, late))
        return answers

    async def _follow(
        self, future: asyncio.Future[ShadowAnswer | None], late: Callable[[ShadowAnswer], Coroutine[Any, Any, Any]]
    ) -> None:
        answer = await future
        if answer is None:
            self.dropped += 1
            return
        try:
            await late(answer)
        except JournalError as error:
            self.dropped += 1
            _log.info("shadow_not_kept", version=answer.conclusion.version.version, why=str(error))
        else:
            self.answered += 1

    async def _one(self, version: ServedVersion, look: Look) -> ShadowAnswer | None:
        try:
            return await look(version)
        except Refusal as refusal:
            _log.info("shadow_failed", model=version.model, version=version.version, why=refusal.message)
        except Exception:
            _log.exception("shadow_failed", model=version.model, version=version.version)
        finally:
            self._running -= 1
        return None
