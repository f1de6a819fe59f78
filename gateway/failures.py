"""Calls that a version did not answer, counted for the console, whose guardrails compare versions.

A refused call leaves no event of its own. What a version failed is counted here and reported
through the journal every few seconds, one event a version and reason; nothing is written while
nothing fails. A gateway that is killed takes the counts of its last seconds with it: they are
evidence about a version, no record of an answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from gateway.errors import Refusal
from gateway.identity import uuid7
from gateway.journal.errors import JournalError
from gateway.journal.journal import Journal
from gateway.snapshot import ServedVersion
from protos.amulet.events.v1 import events_pb2
from protos.amulet.v1 import vocabulary_pb2 as words

_log = structlog.get_logger(__name__)
REPORT_S: Final = 5.0
# What a version or its worker can be blamed for; a full house is nobody's fault, and a photograph its sender's.
BLAMED: Final = frozenset(
    {
        words.REASON_DEADLINE_EXCEEDED,
        words.REASON_MODEL_NOT_READY,
        words.REASON_BACKEND_UNAVAILABLE,
        words.REASON_INTERNAL,
    }
)


class Failures:
    """Counts on the event loop. Give `run` a task."""

    def __init__(self, journal: Journal, *, gateway_id: str) -> None:
        self._journal, self._gateway_id = journal, gateway_id
        self._counts: Counter[tuple[str, str, words.Reason.ValueType]] = Counter()

    @contextmanager
    def of(self, version: ServedVersion, *, drawn: bool) -> Iterator[None]:
        """Count an error that leaves this block, unless no weight chose the version."""
        try:
            yield
        except Exception as error:
            reason = error.reason if isinstance(error, Refusal) else words.REASON_INTERNAL
            if reason in BLAMED and drawn:
                self._counts[version.model, version.version, reason] += 1
            raise

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await asyncio.sleep(REPORT_S)
            await self.report()

    async def report(self) -> None:
        """Hand what was counted to the journal; what it does not take is counted on."""
        for key in list(self._counts):
            calls = self._counts.pop(key)
            try:
                await self._journal.append(self._event(*key, calls))
            except JournalError as error:
                self._counts[key] += calls
                _log.warning("failures_not_reported", why=str(error))
                return

    def _event(self, model: str, version: str, reason: words.Reason.ValueType, calls: int) -> bytes:
        event = events_pb2.Event(
            event_id=uuid7(),
            gateway_id=self._gateway_id,
            failed=events_pb2.CallsFailed(model=model, version=version, reason=reason, calls=calls),
        )
        event.happened_at.GetCurrentTime()
        return event.SerializeToString()
