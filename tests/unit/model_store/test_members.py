"""The zip rules at their borders: what is just small enough is read, and given back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_store import members
from model_store.errors import ArchiveRefused
from model_store.members import MIB, Limits
from tests.unit.model_store.cast import Entry, zip_of

USUAL = Limits()
TWO = [Entry(b"one", b"1" * 1000), Entry(b"two", b"2" * 500)]


def read(archive: bytes, folder: Path, limits: Limits = USUAL) -> dict[str, bytes]:
    (folder / "tiny.mar").write_bytes(archive)
    with members.open_regular(folder / "tiny.mar") as file:
        return {member.name: members.read(file, member) for member in members.read_directory(file, limits)}


@pytest.mark.parametrize("less", [0, 1])
@pytest.mark.parametrize(
    ("limit", "exactly"), [("archive_bytes_max", len(zip_of(TWO))), ("expanded_bytes_max", 1500), ("members_max", 2)]
)
def test_as_much_as_a_limit_says_is_read_and_no_more(limit: str, exactly: int, less: int, tmp_path: Path) -> None:
    limits = Limits(**{limit: exactly - less})
    if not less:
        assert read(zip_of(TWO), tmp_path, limits) == {"one": b"1" * 1000, "two": b"2" * 500}
        return
    with pytest.raises(ArchiveRefused, match=f"at most {exactly - 1} are accepted"):
        read(zip_of(TWO), tmp_path, limits)


def test_a_mebibyte_may_be_packed_as_small_as_it_gets_and_more_may_not(tmp_path: Path) -> None:
    assert read(zip_of([Entry(b"zeros", bytes(MIB), deflated=True)]), tmp_path) == {"zeros": bytes(MIB)}
    with pytest.raises(ArchiveRefused, match="expands more than 100 times"):
        read(zip_of([Entry(b"zeros", bytes(MIB + 1), deflated=True)]), tmp_path)


def test_what_unpacks_to_many_pieces_is_given_back_whole(tmp_path: Path) -> None:
    content = bytes(3 * MIB + 7)

    assert read(zip_of([Entry(b"zeros", content, deflated=True)]), tmp_path, Limits(ratio_max=10_000)) == {
        "zeros": content
    }
