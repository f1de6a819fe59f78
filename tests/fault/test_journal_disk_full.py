"""A disk that is really full: nothing acknowledged is lost, health says what is wrong, and room ends it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.journal.errors import JournalUnavailable
from gateway.journal.journal import Journal, JournalHealth
from gateway.journal.reader import Reader
from gateway.journal.shipper import Shipper, ShipperSettings
from gateway.journal.writer import JournalSettings
from protos.amulet.events.v1 import events_pb2 as pb
from tests.fault.console_place import ConsolePlace
from tests.fault.journal_process import stored
from tests.fault.journal_writer import record_of

pytestmark = pytest.mark.fault

DISK_BYTES = 2**20
WAIT_S = 120.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "amulet-test", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # also when a failed test left files open


async def until(journal: Journal, holds: Callable[[JournalHealth], bool]) -> JournalHealth:
    async with asyncio.timeout(WAIT_S):
        while True:
            if holds(health := journal.health()):
                return health
            await asyncio.sleep(0.01)


async def fill(journal: Journal, *, first: int = 0) -> dict[int, int]:
    """Append until the journal refuses; the numbers of what it acknowledged by their sequences."""
    acked: dict[int, int] = {}
    with suppress(JournalUnavailable):
        for number in range(first, first + 10**6):
            acked[await journal.append(record_of(number))] = number
    return acked


async def test_a_disk_that_fills_up_under_the_journal(small_disk: Path) -> None:
    folder = small_disk / "journal"
    journal = await Journal.open(JournalSettings(folder, free_bytes_min=0, segment_bytes_max=100_000))
    acked = await fill(journal)
    assert len(acked) > 1000
    assert journal.health().failures > 0
    other = small_disk / "other"
    with suppress(OSError):  # the journal may have taken one more since it looked
        other.write_bytes(bytes(journal.health().free_bytes))  # somebody else takes the last blocks
    health = await until(journal, lambda health: not health.admitting)
    assert "No space left on device" in health.sentence
    assert {record.sequence for record in Reader(journal).read(bytes_max=10**7, records_max=10**6)} == set(acked)

    other.unlink()
    with suppress(OSError):  # there may be no room even for the cursor until this has made some
        await asyncio.to_thread(journal.advance, max(acked) // 2)  # half of it is with the console
    await until(journal, lambda health: health.admitting)
    confirmed = journal.cursor
    acked |= await fill(journal, first=10**6)
    await journal.close()
    there = stored(folder)
    assert {sequence: number for sequence, number in acked.items() if sequence >= confirmed} == {
        sequence: number for sequence, number in there.items() if sequence >= confirmed
    }


async def test_above_the_watermark_the_disk_never_fills_and_delivery_makes_room(
    small_disk: Path, tmp_path: Path
) -> None:
    # Segments are as large as usual: the disk is full long before the first one would be.
    journal = await Journal.open(JournalSettings(small_disk / "journal", free_bytes_min=300_000))
    place = ConsolePlace(tmp_path / "console")
    acked = 0
    with suppress(JournalUnavailable):
        while True:
            await journal.append(pb.Event(event_id=f"event-{acked}", gateway_id="x" * 500).SerializeToString())
            acked += 1
    health = journal.health()
    assert "must stay free: make room, or bring the console back" in health.sentence
    assert health.failures == 0  # refused, before a write could fail
    assert health.free_bytes > 250_000
    try:
        place.start()
        shipping = asyncio.create_task(Shipper(journal, ShipperSettings(place.url, place.token)).run())
        await until(journal, lambda health: health.admitting)
        await until(journal, lambda health: health.backlog_records == 0)
        assert await journal.append(pb.Event(event_id="after").SerializeToString()) == acked + 1
        await until(journal, lambda health: health.backlog_records == 0)
        assert place.applied == [*(f"event-{number}" for number in range(acked)), "after"]
        shipping.cancel()
        with suppress(asyncio.CancelledError):
            await shipping
    finally:
        place.kill()
        await journal.close()


async def test_a_journal_opened_on_a_full_disk_says_so_and_takes_records_when_there_is_room(small_disk: Path) -> None:
    folder = small_disk / "journal"
    folder.mkdir()
    other = small_disk / "other"
    with suppress(OSError):
        other.write_bytes(bytes(2 * DISK_BYTES))
    journal = await Journal.open(JournalSettings(folder, free_bytes_min=0))
    health = journal.health()
    assert not health.admitting
    assert "No space left on device" in health.sentence
    with pytest.raises(JournalUnavailable, match="No space left on device"):
        await journal.append(b"x")
    other.unlink()
    await until(journal, lambda health: health.admitting)
    assert await journal.append(b"x") == 1
    await journal.close()
