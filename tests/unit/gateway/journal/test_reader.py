"""Records come in order and once; damage is passed over, reported, and its segment kept."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.journal.format import FRAME_HEADER_BYTES
from gateway.journal.journal import Journal
from gateway.journal.reader import Reader
from gateway.journal.writer import JournalSettings
from tests.unit.gateway.journal.disk import frame_starts, segment_bytes, write_segment

FIRST = [[b"a1", b"a2"], [b"a3"], [b"a4"]]
SECOND = [[b"b5"], [b"b6", b"b7"]]


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
