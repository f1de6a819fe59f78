"""What a caller of `append` may rely on, while the disk works and while it does not."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.journal.errors import JournalFull, JournalLocked, JournalUnavailable
from gateway.journal.format import HEADER_BYTES, RECORD_BYTES_MAX
from gateway.journal.journal import Journal, JournalHealth, JournalStatus
from gateway.journal.reader import Reader
from gateway.journal.segment import Frame, Segment, read_segment
from gateway.journal.writer import JournalSettings
from tests.disks import files_of_at_most

WAIT_S = 30.0


@pytest.fixture
def settings(tmp_path: Path) -> JournalSettings:
    return JournalSettings(tmp_path / "journal", free_bytes_min=0)


@asynccontextmanager
async def opened(settings: JournalSettings) -> AsyncIterator[Journal]:
    journal = await Journal.open(settings)
    try:
        yield journal
    finally:
        await journal.close()


def everything_in(journal: Journal) -> list[bytes]:
    return [record.content for record in Reader(journal).read(bytes_max=10**9, records_max=10**6)]


async def test_a_journal_that_is_closed_says_where_it_ends(settings: JournalSettings) -> None:
    async with opened(settings) as journal:
        await journal.append(b"one")
        await journal.append(b"two")
    *_, last = read_segment(settings.folder / f"{1:020d}.journal", expected=1)
    assert isinstance(last, Frame)
    assert (last.is_seal, last.sequence) == (True, 3)


async def test_a_record_that_comes_alone_is_written_at_once(
    settings: JournalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.journal.writer._IDLE_S", 3600.0)  # nothing but the record wakes the writer
    async with opened(settings) as journal, asyncio.timeout(WAIT_S):
        for sequence in range(1, 21):
            assert await journal.append(b"one") == sequence


def test_a_segment_has_its_name_once_its_header_is_durable_and_its_name_is_durable_before_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, int, list[str]]] = []

    def noting(sync: Callable[[int], None]) -> Callable[[int], None]:
        def note(descriptor: int) -> None:
            status = os.fstat(descriptor)
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            synced.append((status.st_ino, size, [path.name for path in tmp_path.iterdir()]))
            sync(descriptor)

        return note

    monkeypatch.setattr(os, "fdatasync", noting(os.fdatasync))
    monkeypatch.setattr(os, "fsync", noting(os.fsync))
    name = f"{7:020d}.journal"

    segment = Segment.prepare(tmp_path, 7)
    segment.publish()
    segment.append([b"one", b"two"])
    segment.close()

    file, folder = (tmp_path / name).stat(), tmp_path.stat()
    assert synced == [
        (file.st_ino, HEADER_BYTES, [f"{name}.aside"]),
        (folder.st_ino, 0, [name]),
        (file.st_ino, file.st_size, [name]),
    ]


async def test_nobody_else_reads_what_a_journal_keeps(settings: JournalSettings) -> None:
    async with opened(settings) as journal:
        await journal.append(b"one")
        journal.advance(1)
        kept = {path.name: path.stat().st_mode & 0o777 for path in settings.folder.iterdir()}
    assert {kept["cursor"], kept[f"{1:020d}.journal"]} == {0o600}


async def until(journal: Journal, holds: Callable[[JournalHealth], bool]) -> JournalHealth:
    async with asyncio.timeout(WAIT_S):
        while True:
            if holds(health := journal.health()):
                return health
            await asyncio.sleep(0.01)


async def test_an_appended_record_is_on_disk_and_survives_a_restart(settings: JournalSettings) -> None:
    async with opened(settings) as journal:
        assert [await journal.append(b"one"), await journal.append(b"two")] == [1, 2]
    async with opened(settings) as journal:
        assert everything_in(journal) == [b"one", b"two"]
        assert await journal.append(b"three") == 3
        assert everything_in(journal) == [b"one", b"two", b"three"]
        assert journal.health().findings == ()


async def test_many_waiting_callers_share_a_sync(settings: JournalSettings) -> None:
    async with opened(settings) as journal:
        sequences = await asyncio.gather(*(journal.append(b"%d" % number) for number in range(500)))
        assert sorted(sequences) == list(range(1, 501))
        stored = journal.segments()[0]
    pieces = list(read_segment(stored.path, expected=1))
    groups = sum(isinstance(piece, Frame) and piece.place == 0 for piece in pieces) - 1  # less the seal
    assert groups < 100


async def test_a_caller_that_leaves_does_not_strand_the_others(settings: JournalSettings) -> None:
    async with opened(settings) as journal:
        callers = [asyncio.create_task(journal.append(b"%d" % number)) for number in range(50)]
        await asyncio.sleep(0)  # all of them now wait for the disk
        for caller in callers[::2]:
            caller.cancel()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
        assert all(isinstance(outcome, int) for outcome in outcomes[1::2])
        on_disk = everything_in(journal)
        assert [on_disk[int(str(outcome)) - 1] for outcome in outcomes[1::2]] == [b"%d" % n for n in range(1, 50, 2)]


@pytest.mark.parametrize("size", [0, RECORD_BYTES_MAX + 1])
async def test_a_record_of_an_impossible_size_is_a_mistake_of_the_caller(settings: JournalSettings, size: int) -> None:
    async with opened(settings) as journal:
        with pytest.raises(ValueError, match="1 to 16777216 bytes"):
            await journal.append(bytes(size))


async def test_a_full_queue_refuses_at_once_and_keeps_what_it_took(settings: JournalSettings) -> None:
    async with opened(replace(settings, waiting_records_max=10)) as journal:
        outcomes = await asyncio.gather(*(journal.append(b"%d" % n) for n in range(3000)), return_exceptions=True)
        taken = [b"%d" % number for number, outcome in enumerate(outcomes) if isinstance(outcome, int)]
        assert {type(outcome) for outcome in outcomes} == {int, JournalFull}
        assert everything_in(journal) == taken
        assert await journal.append(b"there is room again") == len(taken) + 1


async def test_records_that_are_too_large_together_are_refused(settings: JournalSettings) -> None:
    async with opened(replace(settings, waiting_bytes_max=100)) as journal:
        with pytest.raises(JournalFull, match="wait for the disk"):
            await journal.append(bytes(101))
        assert await journal.append(bytes(100)) == 1


async def test_a_failed_write_refuses_its_callers_and_the_next_segment_takes_their_number(
    settings: JournalSettings,
) -> None:
    async with opened(settings) as journal:
        assert await journal.append(b"before") == 1
        with files_of_at_most(5000):
            with pytest.raises(JournalUnavailable, match="could not be written"):
                await journal.append(bytes(6000))
            assert await journal.append(b"after") == 2
        assert everything_in(journal) == [b"before", b"after"]
        assert journal.health().failures == 1
        assert len(journal.segments()) == 2
    async with opened(settings) as journal:
        assert everything_in(journal) == [b"before", b"after"]


async def test_a_journal_without_a_disk_says_so_and_goes_on_when_it_is_back(settings: JournalSettings) -> None:
    async with opened(settings) as journal:
        assert await journal.append(b"before") == 1
        gone = settings.folder.with_name("gone")
        settings.folder.rename(gone)
        health = await until(journal, lambda health: not health.admitting)
        assert "no journal segment can be opened: No such file or directory" in health.sentence
        with pytest.raises(JournalUnavailable, match="No such file or directory"):
            await journal.append(b"meanwhile")
        gone.rename(settings.folder)
        await until(journal, lambda health: health.admitting)
        assert await journal.append(b"after") == 2
        assert everything_in(journal) == [b"before", b"after"]


async def test_below_the_watermark_nothing_is_taken(settings: JournalSettings) -> None:
    async with opened(replace(settings, free_bytes_min=2**60)) as journal:
        health = journal.health()
        assert health.status is JournalStatus.REFUSING
        assert "must stay free: make room, or bring the console back" in health.sentence
        with pytest.raises(JournalUnavailable, match="MiB left"):
            await journal.append(b"x")


async def test_segments_rotate_by_size_and_are_deleted_when_all_in_them_is_confirmed(settings: JournalSettings) -> None:
    async with opened(replace(settings, segment_bytes_max=1000)) as journal:
        for number in range(100):
            await journal.append(b"%03d" % number * 20)
        assert len(journal.segments()) > 5
        second = journal.segments()[1]
        journal.advance(second.next_sequence - 1)
        assert journal.segments()[0].path == second.path
        journal.advance(second.next_sequence)
        assert not second.path.exists()
        assert everything_in(journal) == [b"%03d" % number * 20 for number in range(second.next_sequence - 1, 100)]
    async with opened(settings) as journal:
        assert journal.cursor == second.next_sequence
        journal.advance(101)
        assert journal.segments() == ()
        assert await journal.append(b"x") == 101


async def test_a_segment_rotates_by_age_so_that_delivered_events_do_not_linger(settings: JournalSettings) -> None:
    async with opened(replace(settings, segment_age_s_max=0.0)) as journal:
        await journal.append(b"x")
        path = settings.folder / "00000000000000000001.journal"
        journal.advance(2)
        async with asyncio.timeout(WAIT_S):
            while path.exists():
                await asyncio.sleep(0.01)
                journal.sweep()


async def test_closing_finishes_what_waits_and_refuses_the_rest(settings: JournalSettings) -> None:
    journal = await Journal.open(settings)
    callers = [asyncio.create_task(journal.append(b"%d" % number)) for number in range(200)]
    await asyncio.sleep(0)
    await journal.close()
    assert sorted(await asyncio.gather(*callers)) == list(range(1, 201))
    with pytest.raises(JournalUnavailable, match="closing"):
        await journal.append(b"late")
    assert journal.health().status is JournalStatus.CLOSED
    await journal.close()


async def test_a_second_opener_gets_a_sentence(settings: JournalSettings) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from gateway.journal.journal import Journal\n"
        "from gateway.journal.writer import JournalSettings\n"
        "asyncio.run(Journal.open(JournalSettings(Path(sys.argv[1]))))"
    )
    async with opened(settings) as journal:
        with pytest.raises(JournalLocked, match="belongs to a running gateway"):
            await Journal.open(settings)
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(settings.folder), stderr=subprocess.PIPE
        )
        _, told = await other.communicate()
        assert "give each gateway its own AMULET_JOURNAL_DIR" in told.decode()
        assert await journal.append(b"still ours") == 1
    async with opened(settings) as journal:
        assert everything_in(journal) == [b"still ours"]
