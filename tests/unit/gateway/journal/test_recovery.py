"""Whatever a crash or a bad disk left behind: whole records only, and the truth about the rest."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.journal.cursor import read_cursor, write_cursor
from gateway.journal.damage import Inspection
from gateway.journal.errors import JournalFormatError
from gateway.journal.format import FRAME_HEADER_BYTES, HEADER_BYTES, MARKER, frame, is_leap
from gateway.journal.journal import Journal
from gateway.journal.reader import Reader
from gateway.journal.recovery import recover
from gateway.journal.rejected import RejectedEvent, RejectedEvents
from gateway.journal.segment import read_segment, write_durably
from gateway.journal.writer import JournalSettings
from tests.unit.gateway.journal.disk import frame_starts, records_in, refusing, segment_bytes, write_segment

GROUPS = [[b"first", b"second"], [b"third"], [b"fourth", b"fifth", MARKER * 3 + b"sixth"]]
RECORDS = [record for group in GROUPS for record in group]
ON_DISK = segment_bytes(GROUPS)
STARTS = frame_starts(GROUPS)
THIRTY = [[b"record %d " % number + b"." * 500] for number in range(1, 31)]  # over four blocks of a disk
THIRTY_BYTES = frame_starts(THIRTY)[-1]

groups_of_records = st.lists(
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5), min_size=1, max_size=5
)


def test_an_empty_folder_begins_with_the_first_sequence(tmp_path: Path) -> None:
    recovered = recover(tmp_path)
    assert (recovered.next_sequence, recovered.cursor, recovered.segments, recovered.findings) == (1, 1, (), ())


@given(groups=groups_of_records, data=st.data())
def test_a_segment_cut_at_any_byte_gives_whole_records_only(groups: list[list[bytes]], data: st.DataObject) -> None:
    content = segment_bytes(groups)
    records = [record for group in groups for record in group]
    cut = data.draw(st.integers(0, len(content)))
    whole = sum(start <= cut for start in frame_starts(groups)[1:])
    with TemporaryDirectory() as folder:
        path = write_segment(Path(folder), content[:cut])
        recovered = recover(Path(folder))
        assert records_in(path) == records[:whole]
    assert recovered.next_sequence == whole + 1
    assert sum(finding.records_lost for finding in recovered.findings) == 0


def test_a_tail_torn_at_every_byte_of_the_last_two_records_is_passed_over(tmp_path: Path) -> None:
    for cut in range(STARTS[-3], len(ON_DISK)):
        path = write_segment(tmp_path, ON_DISK[:cut])
        recovered = recover(tmp_path)
        whole = 4 if cut < STARTS[-2] else 5
        assert records_in(path) == RECORDS[:whole]
        assert recovered.next_sequence == whole + 1
        torn = cut - STARTS[whole]
        assert [(finding.size_bytes, finding.acknowledged) for finding in recovered.findings] == (
            [(torn, False)] if torn else []
        )


@settings(max_examples=300)
@given(groups=groups_of_records, data=st.data(), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found_and_costs_one_record_at_most(
    groups: list[list[bytes]], data: st.DataObject, bit: int
) -> None:
    content = bytearray(segment_bytes(groups, sealed=True))
    records = [record for group in groups for record in group]
    at = data.draw(st.integers(HEADER_BYTES, len(content) - 1))
    content[at] ^= 1 << bit
    harmed = sum(start <= at for start in frame_starts(groups)) - 1
    with TemporaryDirectory() as folder:
        path = write_segment(Path(folder), bytes(content))
        recovered = recover(Path(folder))
        assert records_in(path) == records[:harmed] + records[harmed + 1 :]
    assert len(recovered.findings) == 1
    if harmed < len(records):  # not the seal
        (finding,) = recovered.findings
        assert (finding.first_sequence, finding.records_lost, finding.acknowledged) == (harmed + 1, 1, True)
    assert recovered.next_sequence == len(records) + 1


def test_damage_before_a_later_group_is_named_as_loss(tmp_path: Path) -> None:
    write_segment(tmp_path, _harmed(STARTS[1]))
    (finding,) = recover(tmp_path).findings
    assert (finding.first_sequence, finding.records_lost, finding.acknowledged) == (2, 1, True)
    assert "1 record(s) from sequence 2 on were durable once and cannot be read any more" in finding.sentence


def test_a_hole_within_the_last_group_is_doubtful_and_what_follows_is_kept(tmp_path: Path) -> None:
    path = write_segment(tmp_path, _harmed(STARTS[4]))
    recovered = recover(tmp_path)
    (finding,) = recovered.findings
    assert (finding.first_sequence, finding.records_lost, finding.acknowledged) == (5, 1, False)
    assert records_in(path) == [*RECORDS[:4], RECORDS[5]]
    assert recovered.next_sequence == 7


def test_a_damaged_header_costs_no_record(tmp_path: Path) -> None:
    content = bytearray(segment_bytes(GROUPS, first=31))
    content[:HEADER_BYTES] = bytes(HEADER_BYTES)
    path = write_segment(tmp_path, bytes(content), first=31)
    assert recover(tmp_path).next_sequence == 37
    assert records_in(path, first=31) == RECORDS


def test_a_frame_inside_a_damaged_record_is_not_taken_for_one_of_ours(tmp_path: Path) -> None:
    for sequence in (1, 2, 900):  # one before, the one that is missing, one far ahead
        forged = frame(b"forged", sequence=sequence, place=0)
        groups = [[b"honest"], [b"x" * 40 + forged], [b"honest too"]]
        content = bytearray(segment_bytes(groups))
        content[frame_starts(groups)[1] + FRAME_HEADER_BYTES] ^= 1
        path = write_segment(tmp_path, bytes(content))
        expected = [b"honest", b"forged", b"honest too"] if sequence == 2 else [b"honest", b"honest too"]
        assert records_in(path) == expected


def test_the_next_segment_says_where_the_one_before_it_ends(tmp_path: Path) -> None:
    write_segment(tmp_path, ON_DISK)  # records 4 to 6 failed to be synced; the journal went on with 4
    write_segment(tmp_path, segment_bytes([[b"other fourth"]], first=4), first=4)
    recovered = recover(tmp_path)
    assert [(stored.first_sequence, stored.next_sequence) for stored in recovered.segments] == [(1, 4), (4, 5)]
    assert recovered.next_sequence == 5


def test_a_segment_under_another_name_keeps_the_numbers_that_its_header_states(tmp_path: Path) -> None:
    path = write_segment(tmp_path, segment_bytes(GROUPS, first=31), first=7)
    recovered = recover(tmp_path)
    assert [(stored.path, stored.first_sequence) for stored in recovered.segments] == [(path, 31)]
    assert (recovered.next_sequence, recovered.findings) == (37, ())


def test_a_segment_of_another_version_stops_the_opening_and_is_left_alone(tmp_path: Path) -> None:
    content = bytearray(segment_bytes(GROUPS))
    content[8] = 2
    content[HEADER_BYTES - 4 : HEADER_BYTES] = google_crc32c.value(bytes(content[: HEADER_BYTES - 4])).to_bytes(
        4, "little"
    )
    path = write_segment(tmp_path, bytes(content))
    with pytest.raises(JournalFormatError, match="version 2"):
        recover(tmp_path)
    assert path.read_bytes() == content


def test_whole_records_that_nobody_was_told_of_are_durable_before_they_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced, sync = write_segment(tmp_path, ON_DISK[:-3]), [], os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    recover(tmp_path)
    assert path.stat().st_ino in synced


def test_opening_leaves_every_segment_as_it_was(tmp_path: Path) -> None:
    path = write_segment(tmp_path, ON_DISK[:-3])
    recover(tmp_path)
    assert path.read_bytes() == ON_DISK[:-3]


def test_a_segment_whose_creation_was_cut_short_is_swept_away(tmp_path: Path) -> None:
    leftover = tmp_path / "00000000000000000001.journal.aside"
    leftover.write_bytes(b"\x89AM")
    assert recover(tmp_path).next_sequence == 1
    assert not leftover.exists()


def test_sequences_go_on_after_the_cursor_when_no_segment_is_left(tmp_path: Path) -> None:
    write_cursor(tmp_path, 77)
    assert (recover(tmp_path).next_sequence, recover(tmp_path).cursor) == (77, 77)


@pytest.mark.parametrize("content", [b"", b"77", b"77 00000000\n", b"\xff\xfe \n", b"77 zz\n", b"-5 0\n"])
def test_a_cursor_that_cannot_be_believed_means_the_oldest_record(tmp_path: Path, content: bytes) -> None:
    write_segment(tmp_path, segment_bytes([[b"x"]], first=50), first=50)
    (tmp_path / "cursor").write_bytes(content)
    assert recover(tmp_path).cursor == 50


def test_a_cursor_that_the_disk_refuses_is_begun_anew_where_nothing_else_says_what_was_used(tmp_path: Path) -> None:
    refused = tmp_path / "cursor"
    refused.symlink_to(refused.name)  # a loop: OSError, and not a file that is missing
    recovered = recover(tmp_path)
    assert (recovered.next_sequence, recovered.cursor) == (1, 1)
    assert read_cursor(tmp_path) == 1  # so that the old one cannot come back


def test_a_cursor_that_the_disk_refuses_is_left_alone_where_segments_say_what_was_used(tmp_path: Path) -> None:
    refused = tmp_path / "cursor"
    refused.symlink_to(refused.name)  # as above
    write_segment(tmp_path, segment_bytes([[b"x"]], first=50), first=50)
    recovered = recover(tmp_path)
    assert (recovered.next_sequence, recovered.cursor) == (51, 50)
    assert refused.is_symlink()


def keep_refused(folder: Path, sequence: int) -> None:
    RejectedEvents(folder).keep([RejectedEvent(sequence, "", "refused by the test", b"event")])


@pytest.mark.parametrize("looked_at", ["stat", "read_bytes"])
def test_a_file_of_refused_events_that_is_erased_meanwhile_keeps_no_gateway_from_starting(
    looked_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sequence in (1, 42):
        keep_refused(tmp_path, sequence)
    look = getattr(Path, looked_at)

    def erased_meanwhile(file: Path, **how: bool) -> object:
        if file.name.endswith("42.jsonl"):
            file.unlink()
        return look(file, **how)

    monkeypatch.setattr(Path, looked_at, erased_meanwhile)
    assert RejectedEvents(tmp_path).count == 1


def test_a_file_of_refused_events_that_is_erased_as_it_is_written_is_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def erased(descriptor: int) -> None:
        sync(descriptor)
        for file in (tmp_path / "rejected").glob("*.jsonl"):
            file.unlink()

    monkeypatch.setattr(os, "fsync", erased)
    rejected = RejectedEvents(tmp_path)
    rejected.keep([RejectedEvent(1, "", "refused by the test", b"event")])
    rejected.look_again()
    assert rejected.count == 0


def test_refused_events_that_cannot_be_looked_at_are_counted_and_keep_no_others_in_the_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected, stat = RejectedEvents(tmp_path), Path.stat
    for sequence in (1, 2, 3):
        rejected.keep([RejectedEvent(sequence, "", "refused by the test", b"event")])
    (tmp_path / "rejected" / f"{3:020d}.jsonl").unlink()

    def denied(file: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if file.name.endswith("1.jsonl"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return stat(file, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", denied)
    rejected.look_again()
    assert rejected.count == 2


def test_refused_events_that_a_killed_gateway_was_writing_are_swept_away(tmp_path: Path) -> None:
    """They are delivered again; and nobody who is erased is looked for in half a file."""
    keep_refused(tmp_path, 1)
    (tmp_path / "rejected" / f"{2:020d}.jsonl.aside").write_bytes(b"{half of somebody")
    recover(tmp_path)
    assert [file.name for file in (tmp_path / "rejected").iterdir()] == [f"{1:020d}.jsonl"]


def test_what_could_not_be_written_durably_leaves_the_old_content_and_none_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_durably(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_durably(tmp_path / "file", b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]


def test_without_a_cursor_and_segments_numbers_go_on_above_what_was_refused(tmp_path: Path) -> None:
    keep_refused(tmp_path, 42)
    recovered = recover(tmp_path)
    assert recovered.cursor == recovered.next_sequence > 42


def test_without_a_cursor_and_segments_numbers_go_on_above_all_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    write_segment(tmp_path / "damaged", segment_bytes(THIRTY, first=42), first=42)
    assert recover(tmp_path).next_sequence > 42 + len(THIRTY)


def test_numbers_below_what_was_refused_are_no_damage_of_the_segment_before(tmp_path: Path) -> None:
    keep_refused(tmp_path, 42)
    write_segment(tmp_path, ON_DISK)  # 1 to 6: what came after was lost with the disk's cache
    first = recover(tmp_path).next_sequence
    write_segment(tmp_path, segment_bytes([[b"x"]], first=first), first=first)

    recovered = recover(tmp_path)
    (before, _) = recovered.segments
    inspection = Inspection(before.path.name, 1)
    for piece in read_segment(before.path, expected=1):
        inspection.see(piece)

    assert (first > 42, recovered.next_sequence) == (True, first + 1)
    assert not any(finding.records_lost for finding in inspection.findings(before.next_sequence))


@pytest.mark.parametrize("name", ["00000000000000000042-seen.jsonl", "99999999999999999999.jsonl", "42.jsonl"])
def test_a_file_that_no_delivery_made_says_nothing_about_numbers(tmp_path: Path, name: str) -> None:
    (tmp_path / "rejected").mkdir()
    (tmp_path / "rejected" / name).write_text("{}\n")
    assert recover(tmp_path).next_sequence == 1


@given(
    first=st.integers(1, 50) | st.integers(2**32 - 5, 2**34),
    groups=st.none() | groups_of_records,
    cursor=st.none() | st.integers(1, 100),
    refused=st.sets(st.integers(1, 100) | st.integers(1, 2**40), max_size=3),
    damaged=st.sets(st.integers(1, 100) | st.integers(1, 2**40), max_size=3),
)
def test_no_number_is_given_that_something_in_the_folder_has_in_its_name(
    first: int, groups: list[list[bytes]] | None, cursor: int | None, refused: set[int], damaged: set[int]
) -> None:
    """Also when the start is killed, before or after its segment appeared, and when the cursor goes then."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        end = first + sum(map(len, groups)) if groups is not None else 1
        if groups is not None:
            write_segment(folder, segment_bytes(groups, first=first), first=first)
        if cursor is not None:
            write_cursor(folder, cursor)
        for sequence in sorted(refused):
            keep_refused(folder, sequence)
        (folder / "damaged").mkdir()
        for sequence in damaged:
            write_segment(folder / "damaged", segment_bytes([[b"x", b"y"]], first=sequence), first=sequence)
        borne = {end - 1, (cursor or 1) - 1, *refused, *damaged}

        given = recover(folder).next_sequence

        assert given > max(borne)
        assert given in (end, cursor) or is_leap(given)
        assert recover(folder).next_sequence == given
        write_segment(folder, segment_bytes([], first=given), first=given)
        assert recover(folder).next_sequence == given
        (folder / "cursor").unlink(missing_ok=True)
        assert recover(folder).next_sequence == given


def test_segments_deleted_ahead_of_the_cursor_count_as_delivered(tmp_path: Path) -> None:
    write_segment(tmp_path, segment_bytes([[b"x"]], first=50), first=50)
    write_cursor(tmp_path, 20)
    assert recover(tmp_path).cursor == 50


@pytest.mark.parametrize(
    "refused", [range(8192, 2**20), range(2**20), range(12288, 12289), range(THIRTY_BYTES - 9, 2**20)]
)
@pytest.mark.parametrize("sealed", [True, False])
async def test_what_the_disk_refuses_while_a_journal_is_opened_is_delivered_when_it_is_well(
    tmp_path: Path, refused: range, sealed: bool
) -> None:
    path = write_segment(tmp_path, segment_bytes(THIRTY, sealed=sealed) + b"torn" * (not sealed))
    settings = JournalSettings(tmp_path, free_bytes_min=0)
    with refusing(path, refused):
        journal = await Journal.open(settings)
    health = journal.health()
    assert health.admitting
    assert f"of {path.name} are refused by the disk: they are read again before their events are due" in health.sentence
    assert await journal.append(b"new") > 30
    assert len(THIRTY) < journal.health().backlog_records <= THIRTY_BYTES / 25 + 2
    await journal.close()

    for _ in range(2):  # also after one more start
        journal = await Journal.open(settings)
        reader = Reader(journal)
        read = [record.content for record in reader.read(bytes_max=2**20, records_max=100)]
        assert read == [*(record for (record,) in THIRTY), b"new"]
        assert reader.position == journal.durable_end
        assert not any(finding.acknowledged for finding in journal.health().findings)
        await journal.close()


@pytest.mark.parametrize("refused", [range(2**20), range(8192, 2**20)])
def test_an_error_that_is_no_refusal_of_the_disk_stops_the_opening(tmp_path: Path, refused: range) -> None:
    path = write_segment(tmp_path, segment_bytes(THIRTY))
    with refusing(path, refused, error=errno.ESTALE), pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        recover(tmp_path)
    assert recover(tmp_path).next_sequence == 31


def test_a_stray_byte_between_two_frames_costs_no_record(tmp_path: Path) -> None:
    path = write_segment(tmp_path, ON_DISK[: STARTS[2]] + b"x" + ON_DISK[STARTS[2] :])
    assert records_in(path) == RECORDS
    (finding,) = recover(tmp_path).findings
    assert (finding.offset, finding.size_bytes, finding.records_lost) == (STARTS[2], 1, 0)


def test_numbers_go_on_as_usual_where_a_record_stands_behind_what_the_disk_refuses(tmp_path: Path) -> None:
    path = write_segment(tmp_path, segment_bytes(THIRTY))
    with refusing(path, range(4096, 8192)):
        recovered = recover(tmp_path)
    assert recovered.next_sequence == 31
    (finding,) = recovered.findings
    assert (finding.may_come_back, finding.records_lost, finding.acknowledged) == (True, 0, False)


def test_a_leap_after_a_leap_takes_no_number_again(tmp_path: Path) -> None:
    path = write_segment(tmp_path, segment_bytes(THIRTY))
    with refusing(path, range(8192, 2**20)):
        first = recover(tmp_path).next_sequence
    path = write_segment(tmp_path, segment_bytes(THIRTY, first=first), first=first)
    with refusing(path, range(8192, 2**20)):
        second = recover(tmp_path).next_sequence
    assert is_leap(first)
    assert is_leap(second)
    assert first > 2**32
    assert second > first + 2**32
    assert [stored.next_sequence for stored in recover(tmp_path).segments] == [first, first + 30]


def test_an_empty_segment_after_a_leap_is_taken_as_it_is(tmp_path: Path) -> None:
    path = write_segment(tmp_path, segment_bytes(THIRTY))
    with refusing(path, range(8192, 2**20)):
        first = recover(tmp_path).next_sequence
    write_segment(tmp_path, segment_bytes([], first=first), first=first)
    recovered = recover(tmp_path)
    assert (recovered.next_sequence, recovered.findings) == (first, ())


def test_a_header_that_the_disk_refuses_costs_nothing(tmp_path: Path) -> None:
    path = write_segment(tmp_path, segment_bytes(THIRTY, first=31), first=31)
    write_segment(tmp_path, segment_bytes(GROUPS, first=61), first=61)
    with refusing(path, range(4096)):
        recovered = recover(tmp_path)
    assert [(stored.first_sequence, stored.next_sequence) for stored in recovered.segments] == [(31, 61), (61, 67)]


def _harmed(start: int) -> bytes:
    content = bytearray(ON_DISK)
    content[start + FRAME_HEADER_BYTES] ^= 0x10
    return bytes(content)
