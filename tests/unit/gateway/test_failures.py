"""What a version did not answer, counted and reported: what counts, what does not, and that nothing counts twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway import errors
from gateway.failures import Failures
from gateway.journal.journal import Journal
from gateway.journal.reader import Reader
from gateway.journal.writer import JournalSettings
from gateway.snapshot import ServedVersion, Snapshot
from protos.amulet.events.v1 import events_pb2
from protos.amulet.v1 import vocabulary_pb2 as words
from tests.unit.gateway.cast import policy


def served_version(version: str) -> ServedVersion:
    (served,) = Snapshot.parse(policy().SerializeToString()).models.values()
    return replace(served.routes[0].version, version=version)


def fail(failures: Failures, error: Exception, *, drawn: bool = True, version: str = "v1") -> None:
    with pytest.raises(type(error)), failures.of(served_version(version), drawn=drawn):
        raise error


async def test_calls_that_a_version_failed_are_reported_once_by_reason(tmp_path: Path) -> None:
    journal = await Journal.open(JournalSettings(tmp_path / "journal", free_bytes_min=0))
    failures = Failures(journal, gateway_id="gateway-1")
    for _ in range(3):
        fail(failures, errors.BackendUnavailable("away"))
    fail(failures, errors.DeadlineExceeded("late"), version="v2")
    fail(failures, ZeroDivisionError())
    # Not the version's fault, or not drawn by its weight:
    fail(failures, errors.Overloaded("full"))
    fail(failures, errors.BackendUnavailable("away"), drawn=False)
    with failures.of(served_version("v1"), drawn=True):
        pass
    await failures.report()
    await failures.report()
    told = [
        events_pb2.Event.FromString(record.content) for record in Reader(journal).read(bytes_max=10**6, records_max=100)
    ]
    await journal.close()
    assert sorted((event.failed.version, event.failed.reason, event.failed.calls) for event in told) == sorted(
        [
            ("v1", words.REASON_BACKEND_UNAVAILABLE, 3),
            ("v1", words.REASON_INTERNAL, 1),
            ("v2", words.REASON_DEADLINE_EXCEEDED, 1),
        ]
    )
    assert len({event.event_id for event in told}) == 3


async def test_what_the_journal_does_not_take_is_reported_later(tmp_path: Path) -> None:
    settings = JournalSettings(tmp_path / "journal", free_bytes_min=0)
    closed = await Journal.open(settings)
    failures = Failures(closed, gateway_id="gateway-1")
    fail(failures, errors.BackendUnavailable("away"))
    await closed.close()
    await failures.report()
    failures._journal = await Journal.open(settings)
    await failures.report()
    (record,) = Reader(failures._journal).read(bytes_max=10**6, records_max=100)
    await failures._journal.close()
    assert events_pb2.Event.FromString(record.content).failed.calls == 1
