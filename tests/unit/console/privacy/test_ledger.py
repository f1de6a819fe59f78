"""The ledger of erasures as a file: what is on disk when, and for whom."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from uuid import UUID

import pytest

from console.privacy import ledger
from console.privacy.ledger import Line

ROUNDS = 200


def line(number: int) -> Line:
    return Line(UUID(int=number), datetime(2026, 11, 28, 12, 0, number, tzinfo=UTC), number)


def test_two_erasures_that_are_the_first_at_once_are_both_entered(tmp_path: Path) -> None:
    start = Barrier(2)

    def enter(path: Path, number: int) -> None:
        start.wait()
        ledger.enter(path, line(number))

    with ThreadPoolExecutor(2) as two:
        for each in range(ROUNDS):
            path = tmp_path / str(each)
            for done in [two.submit(enter, path, number) for number in (1, 2)]:
                done.result()
            assert {entered.request_id for entered in ledger.read(path)} == {1, 2}


def test_a_line_and_the_name_of_its_file_are_on_disk_when_it_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sync = tmp_path / "below" / "a folder" / "erasures", os.fsync
    synced: list[tuple[str, bytes]] = []

    def noting(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((name.name, name.read_bytes() if name.is_file() else b""))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    ledger.enter(path, line(1))
    whole = path.read_bytes()
    assert synced == [("erasures", whole), ("a folder", b"")]
    synced.clear()
    ledger.enter(path, line(2))
    assert synced == [("erasures", path.read_bytes())]
    assert path.read_bytes().startswith(whole)
    assert list(ledger.read(path)) == [line(1), line(2)]


def test_nobody_else_on_the_machine_reads_who_was_erased(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ledger.enter(tmp_path / "folder" / "erasures", line(1))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "folder" / "erasures").stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", [b'{"subject": "cut sh', b"[]", b"7", b"\0\0\0\0", b"\xff", b'{"subject": 7}'])
def test_what_is_no_whole_line_hides_no_other(tmp_path: Path, cut: bytes) -> None:
    path = tmp_path / "erasures"
    ledger.enter(path, line(1))
    with path.open("ab") as file:
        file.write(b"\n" + cut)  # a process that died
    ledger.enter(path, line(2))
    assert list(ledger.read(path)) == [line(1), line(2)]


def test_where_there_is_no_ledger_nobody_was_erased(tmp_path: Path) -> None:
    assert list(ledger.read(tmp_path / "erasures")) == []
