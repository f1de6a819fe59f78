"""The published checkpoints, where a disk or a process fails while one is written."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from django.utils.timezone import now

from console.audit.commands import notes_in
from console.audit.models import Checkpoint
from console.audit.notes import KeyUnreadable, load_private_key, read_checkpoint
from console.audit.services import NewEntry, append
from console.audit.signer import STATE_NAME, HistoryChanged, Signer

pytestmark = pytest.mark.django_db
KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "not there yet" / "checkpoints"


@pytest.fixture
def signer(tmp_path: Path, folder: Path) -> Signer:
    key_file = tmp_path / "key"
    key_file.write_bytes(KEY.private_bytes_raw())
    return Signer(key_file, folder)


def grow(entries: int) -> None:
    with transaction.atomic():
        append([NewEntry("test.written", "test", "1")] * entries, actor="writer")


def published(folder: Path) -> Path:
    (file,) = folder.glob("*.txt")
    return file


def sizes(folder: Path) -> list[int]:
    """Of every checkpoint that a reader of all finds. Raises NoteInvalid for what is none."""
    return [read_checkpoint(KEY.public_key(), note).size for note in notes_in(folder)]


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """As on a full disk: what fits is written, the rest is an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_signed_is_on_disk_before_the_signer_counts_it(
    signer: Signer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bytes]] = []
    sync = os.fsync

    def noting(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name, path.read_bytes() if path.is_file() else b""))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    for new in (True, False):
        synced.clear()
        grow(1)
        signer.sign(now())
        file, state = published(folder), folder / STATE_NAME
        wanted = [(file.name, file.read_bytes()), (folder.name, b"")] if new else [(file.name, file.read_bytes())]
        assert synced == [*wanted, (f".{STATE_NAME}.{os.getpid()}", state.read_bytes()), (folder.name, b"")]


@pytest.mark.parametrize("room", [0, 1, 90])
def test_a_checkpoint_for_which_the_disk_has_no_room_leaves_nothing_behind(
    signer: Signer, folder: Path, room: int
) -> None:
    grow(3)
    signer.sign(now())
    before = published(folder).read_bytes()
    grow(2)
    with files_end_at(len(before) + room), pytest.raises(OSError, match="File too large"):
        signer.sign(now())
    assert published(folder).read_bytes() == before
    assert not Checkpoint.objects.filter(size=5).exists()
    signer.sign(now())
    assert sizes(folder) == [3, 5]


def test_a_checkpoint_that_was_cut_at_any_byte_is_followed_by_whole_ones(signer: Signer, folder: Path) -> None:
    grow(3)
    signer.sign(now())
    file, state = published(folder), folder / STATE_NAME
    first, signed_once = file.read_bytes(), state.read_bytes()
    grow(2)
    signer.sign(now())
    both = file.read_bytes()
    for cut in range(len(first), len(both) + 1):
        file.write_bytes(both[:cut])  # of a process that was killed, before it wrote what it had signed
        state.write_bytes(signed_once)
        signer.sign(now())
        whole = [3, 5] if cut >= len(both) - 2 else [3]  # all but the line's end: a reader finds it whole
        assert sizes(folder) == [*whole, 5], cut
    for cut in range(len(first) + 1):
        file.write_bytes(first[:cut])
        state.write_bytes(signed_once)
        signer.sign(now())
        assert sizes(folder) == ([3, 5] if cut >= len(first) - 2 else [5]), cut


@pytest.mark.parametrize("cut", [1, 40, 90])
def test_a_checkpoint_that_was_cut_on_the_day_before_is_in_no_readers_way(
    signer: Signer, tmp_path: Path, folder: Path, cut: int
) -> None:
    grow(3)
    signer.sign(now() - timedelta(days=1))
    state = (folder / STATE_NAME).read_bytes()
    file = published(folder)
    first = file.read_bytes()
    grow(2)
    signer.sign(now() - timedelta(days=1))
    file.write_bytes(file.read_bytes()[: len(first) + cut])  # the power was away overnight
    (folder / STATE_NAME).write_bytes(state)
    Signer(tmp_path / "key", folder).sign(now())
    assert len(list(folder.glob("*.txt"))) == 2
    assert sizes(folder) == [3, 5]


@pytest.mark.parametrize("foreign", ["kept by hand\n", "amulet/audit/0000000000000000\n7\n", "amulet/elsewhere"])
def test_what_is_no_piece_of_a_note_of_this_log_is_never_cut(signer: Signer, folder: Path, foreign: str) -> None:
    grow(3)
    signer.sign(now())
    file = published(folder)
    file.write_text(file.read_text() + foreign)
    before = file.read_text()
    grow(2)
    signer.sign(now())
    assert file.read_text().startswith(before)


def test_the_signature_of_a_witness_stays(signer: Signer, folder: Path) -> None:
    grow(3)
    signer.sign(now())
    file = published(folder)
    file.write_text(file.read_text().rstrip("\n") + "\n— witness.example Az3grlgtzPIC\n")
    grow(2)
    signer.sign(now())
    assert "\n— witness.example Az3grlgtzPIC\n" in file.read_text()
    assert sizes(folder) == [3, 5]


@pytest.mark.parametrize("first", ["checkpoints", "database"])
def test_a_backup_is_signed_on_where_the_checkpoints_were_copied_before_the_database(
    signer: Signer, tmp_path: Path, folder: Path, first: str
) -> None:
    """The order of the operators' page, and the other one as its control. tests/fault/test_backup.py types the page."""
    grow(3)
    signer.sign(now())
    copy = tmp_path / "copy"
    if first == "checkpoints":
        shutil.copytree(folder, copy)
        grow(2)
        signer.sign(now())
    with suppress(Restored), transaction.atomic():  # what comes now is not in the copy of the database
        grow(4)
        signer.sign(now())
        if first == "database":
            shutil.copytree(folder, copy)
        raise Restored
    back = Signer(tmp_path / "key", copy)
    grow(1)
    if first == "checkpoints":
        back.sign(now())
        assert sizes(copy) == [3, 6]
    else:
        with pytest.raises(HistoryChanged, match="7 entries were signed"):
            back.sign(now())


class Restored(Exception):
    """The database is as it was when it was copied."""


def test_a_signing_key_whose_content_was_lost_signs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit_signing.key"
    path.write_bytes(bytes(range(32)))
    assert load_private_key(path)
    path.write_bytes(bytes(32))  # as a disk gives it back that lost its power

    with pytest.raises(KeyUnreadable, match="is not an Ed25519 private key"):
        load_private_key(path)
