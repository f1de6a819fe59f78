"""What a start reads back: the newest records, in order, and never more than so much."""

from __future__ import annotations

from pathlib import Path

from gateway.journal.recent import recent_records
from gateway.journal.recovery import recover
from tests.unit.gateway.journal.disk import segment_bytes, write_segment

FIRST, SECOND, THIRD = [[b"a1", b"a2"]], [[b"b3"], [b"b4", b"b5"]], [[b"c6"]]


def written(folder: Path) -> int:
    """Three segments, the last one torn; the size of the last two."""
    write_segment(folder, segment_bytes(FIRST, first=1, sealed=True), first=1)
    second = write_segment(folder, segment_bytes(SECOND, first=3, sealed=True), first=3)
    third = write_segment(folder, segment_bytes(THIRD, first=6) + b"torn", first=6)
    return second.stat().st_size + third.stat().st_size


def test_the_newest_segments_that_fit_are_read_oldest_record_first(tmp_path: Path) -> None:
    two = written(tmp_path)
    segments = recover(tmp_path).segments
    assert list(recent_records(segments, bytes_max=10**6)) == [b"a1", b"a2", b"b3", b"b4", b"b5", b"c6"]
    assert list(recent_records(segments, bytes_max=two)) == [b"b3", b"b4", b"b5", b"c6"]
    assert list(recent_records(segments, bytes_max=two - 1)) == [b"c6"]
    assert list(recent_records(segments, bytes_max=0)) == [b"c6"]
    assert list(recent_records((), bytes_max=10)) == []


def test_records_that_the_next_segment_took_the_number_of_are_not_read(tmp_path: Path) -> None:
    """They were never acknowledged: their sync had failed."""
    write_segment(tmp_path, segment_bytes([[b"a1"], [b"refused"]], first=1), first=1)
    write_segment(tmp_path, segment_bytes([[b"a2"]], first=2), first=2)
    assert list(recent_records(recover(tmp_path).segments, bytes_max=10**6)) == [b"a1", b"a2"]
