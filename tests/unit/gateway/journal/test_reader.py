"""Records come in order and once; damage is passed over, reported, and its segment kept."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from gateway.journal.format import FRAME_HEADER_BYTES
from gateway.journal.journal import Journal
from gateway.journal.reader import Reader
from gateway.journal.recovery import recover
from gateway.journal.refusals import BETWEEN_S_MAX, REFUSED_S_MAX
from gateway.journal.writer import JournalSettings
from tests.unit.gateway.journal.disk import frame_starts, refusing, segment_bytes, write_segment

FIRST = [[b"a1", b"a2"], [b"a3"], [b"a4"]]
SECOND = [[b"b5"], [b"b6", b"b7"]]
LARGE = [
    [b"c%02d" % number + b"." * 990] for number in range(8, 28)
]  # a block of 4096 bytes has four, and the first of a fifth
LARGE_STARTS: Final = frame_starts(LARGE, first=8)


@pytest.fixture
async def journal(tmp_path: Path, harm: list[tuple[int, int]]) -> AsyncIterator[Journal]:
    """Two segments from earlier runs with the given bytes changed: (first sequence of the segment, offset)."""
    for first, groups in ((1, FIRST), (5, SECOND)):
        content = bytearray(segment_bytes(groups, first=first, sealed=True))
        for segment, offset in harm:
            if segment == first:
                content[offset] ^= 0xFF
        write_segment(tmp_path, bytes(content), first=first)
    opened = await Journal.open(JournalSettings(tmp_path, free_bytes_min=0))
    yield opened
    await opened.close()


def body_of(groups: list[list[bytes]], record: int) -> int:
    return frame_starts(groups)[record] + FRAME_HEADER_BYTES


def drain(reader: Reader, *, records_max: int = 3) -> list[bytes]:
    found = []
    while batch := reader.read(bytes_max=10**6, records_max=records_max):
        assert len(batch) <= records_max
        found += [record.content for record in batch]
    return found


@pytest.mark.parametrize("harm", [[]])
@pytest.mark.parametrize("records_max", [1, 2, 3, 100])
async def test_records_come_in_order_over_all_segments(journal: Journal, records_max: int) -> None:
    reader = Reader(journal)
    assert drain(reader, records_max=records_max) == [b"a1", b"a2", b"a3", b"a4", b"b5", b"b6", b"b7"]
    assert reader.position == 8
    await journal.append(b"c8")
    assert [(record.sequence, record.content) for record in reader.read(bytes_max=9, records_max=9)] == [(8, b"c8")]
    assert journal.health().findings == ()


@pytest.mark.parametrize("harm", [[]])
async def test_a_batch_is_bounded_in_bytes_but_never_empty(journal: Journal) -> None:
    reader = Reader(journal)
    assert [len(reader.read(bytes_max=size, records_max=9)) for size in (5, 4, 1)] == [2, 2, 1]


@pytest.mark.parametrize("harm", [[]])
async def test_reading_begins_at_the_cursor(journal: Journal) -> None:
    journal.advance(4)
    assert drain(Reader(journal)) == [b"a4", b"b5", b"b6", b"b7"]


@pytest.mark.parametrize(
    ("harm", "readable", "lost"),
    [
        ([(1, body_of(FIRST, 1))], [b"a1", b"a3", b"a4", b"b5", b"b6", b"b7"], (2, 1)),
        ([(1, body_of(FIRST, 3))], [b"a1", b"a2", b"a3", b"b5", b"b6", b"b7"], (4, 1)),
        ([(1, body_of(FIRST, 2)), (1, body_of(FIRST, 3))], [b"a1", b"a2", b"b5", b"b6", b"b7"], (3, 2)),
    ],
)
@pytest.mark.parametrize("records_max", [1, 100])
async def test_damage_is_reported_and_its_segment_kept_aside(
    journal: Journal, tmp_path: Path, readable: list[bytes], lost: tuple[int, int], records_max: int
) -> None:
    reader = Reader(journal)
    found = []
    while batch := reader.read(bytes_max=10**6, records_max=records_max):
        assert len(batch) <= records_max
        found += [record.content for record in batch]
        journal.advance(reader.position)
    assert found == readable
    (finding,) = journal.health().findings
    assert (finding.first_sequence, finding.records_lost, finding.acknowledged) == (*lost, True)
    assert f"{lost[1]} durable record(s) are damaged" in journal.health().sentence
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == [f"{1:020d}.journal"]
    assert not (tmp_path / f"{5:020d}.journal").exists()


@pytest.mark.parametrize("harm", [[]])
async def test_a_segment_removed_by_hand_is_reported_as_lost(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / f"{1:020d}.journal").unlink()
    assert drain(Reader(journal)) == [b"b5", b"b6", b"b7"]
    (finding,) = journal.health().findings
    assert (finding.first_sequence, finding.records_lost, finding.acknowledged) == (1, 4, True)
    journal.advance(8)
    assert journal.segments() == ()


@pytest.mark.parametrize("harm", [[(5, body_of(SECOND, 0))]])
async def test_damage_that_was_met_at_the_start_is_counted_once(journal: Journal, tmp_path: Path) -> None:
    (at_start,) = journal.health().findings
    assert (at_start.first_sequence, at_start.records_lost, at_start.acknowledged) == (5, 1, True)

    reader = Reader(journal)
    assert drain(reader) == [b"a1", b"a2", b"a3", b"a4", b"b6", b"b7"]
    journal.advance(reader.position)

    assert journal.health().findings == (at_start,)
    assert "; 1 durable record(s) are damaged" in journal.health().sentence
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == [at_start.segment]


@pytest.mark.parametrize("harm", [[]])
async def test_damage_in_the_segment_being_written_is_reported_as_soon_as_it_can_be_passed(
    journal: Journal, tmp_path: Path
) -> None:
    reader = Reader(journal)
    drain(reader)
    await journal.append(b"c8")
    path = tmp_path / f"{8:020d}.journal"
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, b"C", body_of([[b"c8"]], 0))
    os.close(descriptor)
    assert drain(reader) == []
    await journal.append(b"c9")
    assert drain(reader) == [b"c9"]
    (finding,) = journal.health().findings
    assert (finding.first_sequence, finding.records_lost, finding.acknowledged) == (8, 1, True)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def large(tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal with records over several blocks in its first segment, and one record after them."""
    write_segment(tmp_path, segment_bytes(LARGE, first=8, sealed=True), first=8)
    opened = await Journal.open(JournalSettings(tmp_path, free_bytes_min=0))
    await opened.append(b"after")
    yield opened
    await opened.close()


def contents(reader: Reader) -> list[bytes]:
    return [record.content[:3] for record in reader.read(bytes_max=10**6, records_max=100)]


def refused_for(reader: Reader, clock: Clock, seconds: float) -> None:
    """Reading is refused until so many seconds have passed, asked as often as a shipper asks."""
    until_s = clock.now_s + seconds
    while clock.now_s < until_s:
        with pytest.raises(OSError, match="Input/output error"):
            reader.read(bytes_max=10**6, records_max=100)
        clock.now_s += min(2.0, until_s - clock.now_s)


WHOLE = [b"c%02d" % number for number in range(8, 28)] + [b"aft"]


@pytest.mark.parametrize("refused", [range(24), range(4096), range(4096, 8192), range(8192, 12288), range(2**20)])
async def test_nothing_is_passed_over_that_the_disk_gives_again_within_the_time(
    large: Journal, tmp_path: Path, refused: range
) -> None:
    clock = Clock()
    reader = Reader(large, clock=clock)
    path = large.segments()[0].path
    before = sum(start <= refused.start for start in LARGE_STARTS[1:])
    if refused.stop <= 24:
        before = len(WHOLE)  # a header is not needed to read on
    with refusing(path, refused):
        assert (contents(reader) if before else []) == WHOLE[:before]
        if before < len(WHOLE):
            refused_for(reader, clock, REFUSED_S_MAX - 1)
    assert contents(reader) == WHOLE[before:]
    assert large.health().findings == ()


async def test_what_the_disk_refuses_for_long_is_passed_over_and_reported(large: Journal, tmp_path: Path) -> None:
    clock = Clock()
    reader = Reader(large, clock=clock)
    path = large.segments()[0].path
    with refusing(path, range(4096, 8192)):
        assert contents(reader) == WHOLE[:4]
        refused_for(reader, clock, REFUSED_S_MAX)
        assert contents(reader) == WHOLE[9:]
    (finding,) = large.health().findings
    assert (finding.first_sequence, finding.records_lost, finding.acknowledged) == (12, 5, True)
    assert "are refused by the disk: 5 record(s) from sequence 12 on were durable once" in finding.sentence
    assert "5 durable record(s) are damaged" in large.health().sentence
    large.advance(reader.position)
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == [path.name]


async def test_time_in_which_nobody_asked_does_not_count(large: Journal) -> None:
    clock = Clock()
    reader = Reader(large, clock=clock)
    with refusing(large.segments()[0].path, range(4096)):
        for _ in range(int(REFUSED_S_MAX / BETWEEN_S_MAX)):
            with pytest.raises(OSError, match="Input/output error"):
                contents(reader)
            clock.now_s += 86_400  # as if the console had been away
    assert contents(reader) == WHOLE


async def test_each_stretch_that_is_given_up_halves_the_wait_for_the_next(large: Journal) -> None:
    clock = Clock()
    reader = Reader(large, clock=clock)
    path = large.segments()[0].path
    with refusing(path, range(4096, 8192)):
        contents(reader)
        refused_for(reader, clock, REFUSED_S_MAX)
        assert len(reader.read(bytes_max=3000, records_max=2)) == 2
    with refusing(path, range(16384, 2**20)):
        assert contents(reader) == WHOLE[11:16]
        refused_for(reader, clock, REFUSED_S_MAX / 2)
        assert contents(reader) == [b"aft"]
    assert sum(finding.records_lost for finding in large.health().findings) == 5 + 4


async def test_an_end_that_nobody_ever_read_is_reported_as_what_it_has_room_for(tmp_path: Path) -> None:
    path = write_segment(tmp_path, segment_bytes(LARGE, first=8), first=8)
    clock = Clock()
    with refusing(path, range(16384, 2**20)):
        opened = await Journal.open(JournalSettings(tmp_path, free_bytes_min=0))
        await opened.append(b"after")
        reader = Reader(opened, clock=clock)
        assert contents(reader) == WHOLE[:16]
        refused_for(reader, clock, REFUSED_S_MAX)
        assert contents(reader) == [b"aft"]
    (lost,) = [finding for finding in opened.health().findings if finding.records_lost]
    room = (LARGE_STARTS[-1] - LARGE_STARTS[16]) // 25
    assert (lost.first_sequence, lost.records_lost, lost.acknowledged, lost.at_most) == (24, room, True, True)
    assert f"up to {room} durable record(s) are damaged" in opened.health().sentence
    opened.advance(reader.position)
    assert opened.health().backlog_records == 0
    await opened.close()
    assert recover(tmp_path).next_sequence == opened.durable_end


async def test_what_was_read_before_a_refusal_is_not_lost(large: Journal) -> None:
    """A file that cannot be opened, behind one that was read."""
    reader = Reader(large)
    last = large.segments()[-1].path
    gone = last.with_name("gone")
    last.rename(gone)
    last.symlink_to(last.name)  # a loop: OSError, and not a file that is missing
    assert contents(reader) == WHOLE[:-1]
    with pytest.raises(OSError, match="symbolic links"):
        contents(reader)
    last.unlink()
    gone.rename(last)
    assert contents(reader) == WHOLE[-1:]
