"""The bytes on disk are those that the docstring states, and every one of them is checked."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal import format as on_disk
from gateway.journal.errors import JournalFormatError


def test_the_worked_example_in_the_docstring_is_what_is_written() -> None:
    lines = re.findall(r"^    [0-9a-f]{2}  ((?:[0-9a-f]{2} +)+)", on_disk.__doc__ or "", re.MULTILINE)
    stated = bytes.fromhex("".join(lines))
    assert stated == on_disk.header(7) + on_disk.frame(b"hi", sequence=7, place=0)


def test_a_header_states_its_first_sequence() -> None:
    assert on_disk.first_sequence_of(on_disk.header(42), Path("x")) == 42


@given(at=st.integers(0, on_disk.HEADER_BYTES - 1), bit=st.integers(0, 7))
def test_a_header_with_any_bit_changed_is_not_believed(at: int, bit: int) -> None:
    harmed = bytearray(on_disk.header(42))
    harmed[at] ^= 1 << bit
    assert on_disk.first_sequence_of(bytes(harmed), Path("x")) is None


def test_a_segment_of_another_version_stops_the_start_with_a_sentence() -> None:
    body = on_disk.MAGIC + (2).to_bytes(2, "little") + on_disk.header(42)[10:20]
    checksum = google_crc32c.value(body).to_bytes(4, "little")
    with pytest.raises(JournalFormatError, match="version 2; this gateway reads version 1"):
        on_disk.first_sequence_of(body + checksum, Path("x"))


@given(record=st.binary(min_size=1, max_size=300), place=st.integers(0, 1000), data=st.data(), bit=st.integers(0, 7))
def test_a_frame_with_any_bit_changed_is_not_believed(record: bytes, place: int, data: st.DataObject, bit: int) -> None:
    whole = on_disk.frame(record, sequence=2000, place=place)
    harmed = bytearray(whole)
    harmed[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << bit

    def believed(raw: bytes) -> bool:
        head = on_disk.frame_header(raw)
        return head is not None and head.matches(raw[on_disk.FRAME_HEADER_BYTES :][: head.length])

    assert believed(whole)
    assert not believed(bytes(harmed))


@pytest.mark.parametrize(
    ("length", "sequence", "place", "can_be_one"),
    [
        (on_disk.RECORD_BYTES_MAX, 7, 0, True),
        (on_disk.RECORD_BYTES_MAX + 1, 7, 0, False),
        (2**32 - 1, 7, 0, False),
        (2, 7, 7, True),
        (2, 7, 8, False),  # there are not so many records before it
    ],
)
def test_what_no_frame_states_is_taken_for_none_before_its_record_is_read(
    length: int, sequence: int, place: int, can_be_one: bool
) -> None:
    raw = on_disk.MARKER + struct.pack("<IQII", length, sequence, place, 0)
    found = on_disk.frame_header(raw)
    assert (found is not None) == can_be_one
    assert found is None or (found.length, found.sequence, found.place) == (length, sequence, place)


def test_segment_names_sort_as_their_sequences_do() -> None:
    sequences = [1, 9, 10, 99, 10**12, 2**63]
    assert sorted(map(on_disk.file_name, sequences)) == [on_disk.file_name(sequence) for sequence in sequences]


@pytest.mark.parametrize("name", ["cursor", "lock", "1.journal", f"{'0' * 20}.journal.aside", f"{'x' * 20}.journal"])
def test_other_files_are_no_segments(name: str) -> None:
    assert on_disk.sequence_in_name(Path(name)) is None
