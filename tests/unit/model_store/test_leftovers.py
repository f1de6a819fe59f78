"""What a killed process leaves is swept, and what lives is not."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from model_store import leftovers

DAY_S, HOUR_S = 86_400.0, 3_600.0


def left(folder: Path, name: str, *, age_s: float) -> Path:
    path = folder / name
    if "folder" in name:
        path.mkdir()
        (path / "half.mar").write_bytes(b"half")
    elif "pipe" in name:
        os.mkfifo(path)
    else:
        path.write_bytes(b"half")
    at_s = time.time() - age_s
    os.utime(path, (at_s, at_s))
    return path


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_older_than_a_day_goes_and_what_is_younger_stays(kind: str, tmp_path: Path) -> None:
    old = left(tmp_path, f"amulet-x-{kind}-old", age_s=DAY_S + HOUR_S)
    young = left(tmp_path, f"amulet-x-{kind}-young", age_s=DAY_S - HOUR_S)
    anothers = left(tmp_path, f"amulet-y-{kind}", age_s=2 * DAY_S)

    leftovers.sweep(tmp_path, "amulet-x-")

    assert [path.exists() for path in (old, young, anothers)] == [False, True, True]


def test_what_is_neither_a_file_nor_a_folder_is_left_alone(tmp_path: Path) -> None:
    pipe = left(tmp_path, "amulet-x-pipe", age_s=2 * DAY_S)

    leftovers.sweep(tmp_path, "amulet-x-")

    assert pipe.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_is_anothers_stays(tmp_path: Path) -> None:
    anothers = left(tmp_path, "amulet-x-file", age_s=2 * DAY_S)
    os.chown(anothers, 65534, 65534)

    leftovers.sweep(tmp_path, "amulet-x-")

    assert anothers.exists()


def test_a_held_folder_has_the_name_by_which_it_would_be_swept_and_goes_with_its_content(tmp_path: Path) -> None:
    with leftovers.held_folder("amulet-x-") as folder:
        (folder / "half.mar").write_bytes(b"half")
        os.utime(folder, (1, 1))
        leftovers.sweep(folder.parent, folder.name)
        assert folder.name.startswith("amulet-x-")
        assert folder.exists()
    assert not folder.exists()


def test_where_a_file_system_knows_no_locks_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    old = left(tmp_path, "amulet-x-old", age_s=DAY_S + HOUR_S)
    young = left(tmp_path, "amulet-x-young", age_s=DAY_S - HOUR_S)
    monkeypatch.setattr(fcntl, "flock", no_locks)

    with leftovers.held_folder("amulet-x-") as folder:
        leftovers.sweep(tmp_path, "amulet-x-")

        assert [path.exists() for path in (old, young, folder)] == [False, True, True]


def test_a_lock_that_fails_for_another_reason_is_an_error_and_nothing_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    old = left(tmp_path, "amulet-x-old", age_s=DAY_S + HOUR_S)
    monkeypatch.setattr(fcntl, "flock", broken)

    leftovers.sweep(tmp_path, "amulet-x-")

    assert old.exists()
    with pytest.raises(OSError, match="Input/output error"), leftovers.held_folder("amulet-x-"):
        pass
