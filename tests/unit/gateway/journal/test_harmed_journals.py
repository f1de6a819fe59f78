"""Delivery from a journal that cannot be read, or whose files cannot be deleted: nothing is passed over in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.journal.format import FRAME_HEADER_BYTES, HEADER_BYTES
from gateway.journal.journal import Journal
from gateway.journal.writer import JournalSettings
from protos.amulet.events.v1 import events_pb2 as pb
from tests.fault.console_place import ConsolePlace
from tests.unit.gateway.journal.delivery import append_events, delivered, names, settings_for, shipping, until
from tests.unit.gateway.journal.disk import frame_starts, refusing, segment_bytes, write_segment


def stored(name: str) -> bytes:
    event = pb.Event(event_id=name)
    event.happened_at.GetCurrentTime()
    return event.SerializeToString()


async def test_a_damaged_end_is_passed_over_and_not_waited_for(tmp_path: Path, place: ConsolePlace) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    write_segment(folder, segment_bytes([[stored(name)] for name in names(3)], sealed=True))
    harmed = bytearray(segment_bytes([[stored("lost")]], first=4, sealed=True))
    harmed[frame_starts([[stored("lost")]])[0] + FRAME_HEADER_BYTES] ^= 0xFF
    write_segment(folder, bytes(harmed), first=4)
    journal = await Journal.open(JournalSettings(folder, free_bytes_min=0))
    whole_segment = replace(settings_for(place), batch_records_max=3)
    async with shipping(journal, whole_segment) as shipper:
        state = await until(shipper, lambda state: delivered(state) or state.failures > 0)
        assert (state.failures, state.delivering, journal.cursor) == (0, True, journal.durable_end)
        await append_events(journal, "after")
        await until(shipper, delivered)
    assert place.applied == [*names(3), "after"]
    await journal.close()


async def test_events_that_cannot_be_read_yet_are_told_of(journal: Journal, place: ConsolePlace) -> None:
    """Nothing behind them says that they are lost: what is written next will."""
    await append_events(journal, "harmed")
    path = journal.segments()[0].path
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + FRAME_HEADER_BYTES] ^= 0xFF
    path.write_bytes(content)
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, lambda state: state.failures > 0 or delivered(state))
    assert (state.delivering, state.backlog_records) == (False, 1)
    assert state.sentence == "the oldest events of the journal cannot be read"


async def test_segments_that_could_not_be_deleted_go_later_and_hold_nothing_up(
    journal: Journal, place: ConsolePlace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def segments() -> int:
        return len(list((tmp_path / "journal").glob("*.journal")))

    await append_events(journal, *names(299))
    await append_events(journal, "event-299")
    assert segments() == 2
    with caplog.at_level("WARNING"), keeping_files() as tries:
        async with shipping(journal, settings_for(place)) as shipper:
            await until(shipper, lambda state: delivered(state) and tries[0] >= 3)
            assert segments() == 2
            await append_events(journal, "after")
            await until(shipper, delivered)
    assert "delivered segments cannot be deleted" in caplog.text
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, lambda _: segments() == 1)
    assert place.applied == [*names(300), "after"]


@contextmanager
def keeping_files() -> Iterator[list[int]]:
    """The disk deletes no file. Gives how often it was asked to."""
    tries, give = [0], os.unlink

    def unlink(*args: object, **kwargs: object) -> None:
        tries[0] += 1
        raise PermissionError("this disk keeps what it has")

    os.unlink = unlink
    try:
        yield tries
    finally:
        os.unlink = give


@pytest.mark.parametrize("before", [0, 200])
async def test_a_disk_that_refuses_holds_delivery_up_and_says_so_until_it_gives(
    journal: Journal, place: ConsolePlace, before: int
) -> None:
    await append_events(journal, *names(before))
    await append_events(journal, *names(300 - before, first=before))
    path = journal.segments()[-1].path if before else journal.segments()[0].path
    with refusing(path, range(2**20)):
        async with shipping(journal, settings_for(place)) as shipper:
            state = await until(shipper, lambda state: state.failures >= 5)
            assert f"Input/output error: '{path}'" in state.sentence
            assert (place.applied, state.backlog_records) == (names(before), 300 - before)
            assert state.backlog_s > 0
            assert journal.health().findings == ()
    async with shipping(journal, settings_for(place)) as shipper:
        assert (await until(shipper, delivered)).delivering
    assert place.applied == names(300)


async def test_a_segment_that_was_refused_at_the_start_goes_when_it_is_delivered(
    tmp_path: Path, place: ConsolePlace
) -> None:
    settings = JournalSettings(tmp_path / "journal", free_bytes_min=0)
    journal = await Journal.open(settings)
    await append_events(journal, *names(300))
    await journal.close()
    path = tmp_path / "journal" / f"{1:020d}.journal"
    with refusing(path, range(4096, 2**20)):
        journal = await Journal.open(settings)
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, delivered)
    assert place.applied == names(300)
    assert (journal.cursor, path.exists()) == (journal.durable_end, False)
    assert journal.health().sentence == "every answer is on disk before it leaves"
    await journal.close()
