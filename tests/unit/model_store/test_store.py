"""A name in the store means the same whole bytes for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model_store import store
from model_store.contents import sha256
from model_store.errors import ArchiveRefused

CONTENT = b"an archive" * 1000


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.mar"
    path.write_bytes(CONTENT)
    return path


def test_an_archive_is_stored_read_only_under_its_digest(archive: Path, tmp_path: Path) -> None:
    stored = store.place(archive, tmp_path / "store", sha256=sha256(CONTENT))
    assert stored.new
    assert stored.name == f"{sha256(CONTENT)[:32]}.mar"
    assert stored.path.read_bytes() == CONTENT
    assert stored.path.stat().st_mode & 0o777 == 0o444
    assert stored.size_bytes == len(CONTENT)


def test_placing_it_again_changes_nothing(archive: Path, tmp_path: Path) -> None:
    first = store.place(archive, tmp_path / "store")
    inode = first.path.stat().st_ino
    second = store.place(archive, tmp_path / "store")
    assert (second.path, second.new) == (first.path, False)
    assert second.path.stat().st_ino == inode
    assert len(list((tmp_path / "store").iterdir())) == 1


def test_what_changed_since_it_was_verified_does_not_get_in(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused, match="changed since"):
        store.place(archive, tmp_path / "store", sha256="0" * 64)
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize("older", [b"", b"half"])
def test_a_damaged_file_under_the_name_is_replaced(older: bytes, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    target = tmp_path / "store" / store.name_for(sha256(CONTENT))
    target.write_bytes(older)
    stored = store.place(archive, tmp_path / "store")
    assert stored.new
    assert target.read_bytes() == CONTENT


def test_a_link_under_the_name_is_replaced_and_its_target_left_alone(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(CONTENT)
    target = tmp_path / "store" / store.name_for(sha256(CONTENT))
    target.symlink_to(elsewhere)
    stored = store.place(archive, tmp_path / "store")
    assert stored.new
    assert not target.is_symlink()


def test_a_full_disk_leaves_no_name(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.place(archive, tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_what_a_killed_process_left_is_swept_after_a_day_and_not_before(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    old, young = tmp_path / "store" / ".incoming-old", tmp_path / "store" / ".incoming-young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    stored = store.place(archive, tmp_path / "store")
    assert sorted((tmp_path / "store").iterdir()) == sorted([young, stored.path])


def test_a_file_that_is_not_what_its_name_says_is_found(archive: Path, tmp_path: Path) -> None:
    stored = store.place(archive, tmp_path / "store")
    store.check(stored.path)
    stored.path.chmod(0o644)
    stored.path.write_bytes(CONTENT[:-1] + b"X")
    with pytest.raises(ArchiveRefused, match="not the archive that was verified"):
        store.check(stored.path)
    with pytest.raises(FileNotFoundError):
        store.check(tmp_path / "store" / store.name_for("0" * 64))


def test_an_archive_in_place_of_another_is_not_read(good_archive: bytes, tmp_path: Path) -> None:
    """Right by every rule of the container: only its name tells that it is another."""
    (tmp_path / "a.mar").write_bytes(good_archive)
    stored = store.place(tmp_path / "a.mar", tmp_path / "store")
    assert store.open_stored(stored.path).card().name == "tiny"
    other = stored.path.with_name(store.name_for("0" * 64))
    other.write_bytes(good_archive)
    with pytest.raises(ArchiveRefused, match="not the archive that was verified"):
        store.open_stored(other)
    with pytest.raises(FileNotFoundError):
        store.open_stored(stored.path.with_name(store.name_for("1" * 64)))


def test_what_is_being_written_is_not_swept_however_old_the_clock_makes_it(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wall clock is set on while a large archive is copied, and then somebody else's is placed."""
    folder, other, sync = tmp_path / "store", tmp_path / "other.mar", os.fsync
    other.write_bytes(b"another")

    def meanwhile(handle: int) -> None:
        monkeypatch.undo()
        [incoming] = folder.glob(".incoming-*")
        os.utime(incoming, (1, 1))
        store.place(other, folder)
        sync(handle)

    monkeypatch.setattr(os, "fsync", meanwhile)
    stored = store.place(archive, folder)

    assert stored.path.read_bytes() == CONTENT
    assert sorted(folder.iterdir()) == sorted([stored.path, folder / store.name_for(sha256(b"another"))])
