"""Files and folders that take their place in one step; what a killed process left is told from what somebody makes."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from model_store import placed
from tests.disks import files_of_at_most


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with placed.folder(tmp_path / "run") as place:
            (place / "half").write_text("done")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_folder_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for text in ("first", "second"):
        with placed.folder(out, replace=True) as place:
            (place / "model.json").write_text(text)
            if text == "second":
                assert (out / "model.json").read_text() == "first"
    assert (out / "model.json").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_somebody_put_there_meanwhile_is_replaced_on_wish_alone(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()

    def make(name: str) -> None:
        with placed.folder(tmp_path / "set") as place:
            (place / name).write_text("")

    make("mine")
    with pytest.raises(OSError, match="Directory not empty") as refused:
        make("yours")

    assert refused.value.filename2 == str(tmp_path / "set")
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["mine"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def _write(out: Path, text: str) -> None:
    with placed.folder(out, replace=True) as place:
        (place / "model.json").write_text(text)
        (place / "model.onnx").write_text(text)


def _is_whole(out: Path) -> bool:
    return out.is_dir() and len({(out / name).read_text() for name in ("model.json", "model.onnx")}) == 1


def _killed(step: int, out: Path) -> bool:
    """Whether a process that writes a folder was killed before its step of that number; if not, it has written it."""
    child = os.fork()
    if not child:
        left = step

        def hook(event: str, _: object) -> None:
            nonlocal left
            if event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "ctypes.dlsym"}:
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        _write(out, f"of step {step}")
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


# The second flag is one that no kernel knows: as on a file system that cannot exchange folders.
@pytest.mark.parametrize("flag", [placed._RENAME_EXCHANGE, 1 << 30])
def test_a_process_that_is_killed_at_any_step_leaves_a_whole_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: int
) -> None:
    exchanged = flag == placed._RENAME_EXCHANGE
    monkeypatch.setattr(placed, "_RENAME_EXCHANGE", flag)
    out = tmp_path / "run"
    _write(out, "first")
    missing = 0
    for step in count(1):
        killed = _killed(step, out)
        missing += not out.exists()
        assert _is_whole(out) or not exchanged
        placed.clear(out)  # as the next start does
        assert _is_whole(out)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        if not killed:
            break
    assert step > 8
    assert missing == (0 if exchanged else 1)
    assert (out / "model.json").read_text() == f"of step {step}"


def test_what_somebody_makes_or_keeps_under_such_a_name_is_not_taken_away(tmp_path: Path) -> None:
    out = tmp_path / "run"
    (tmp_path / ".run-mine_123").mkdir()
    (tmp_path / ".run-mine_123/letter.txt").write_text("dear")
    with placed.folder(out, replace=True) as place:
        (place / "model.json").write_text("slow")
        _write(out, "quick")
        assert (place / "model.json").read_text() == "slow"
    assert (out / "model.json").read_text() == "slow"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run-mine_123", "run"]


def test_who_finds_its_empty_folder_taken_for_a_left_one_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the making of the hidden folder and its lock another start of the command may come."""
    made = tempfile.mkdtemp
    taken: list[str] = []

    def mkdtemp(*, prefix: str, dir: Path) -> str:
        name = made(prefix=prefix, dir=dir)
        if not taken:
            taken.append(name)
            placed.clear(tmp_path / "run")
        return name

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    _write(tmp_path / "run", "whole")

    assert taken
    assert _is_whole(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def _file(out: Path) -> None:
    with placed.file(out) as new:
        new.write_bytes(b"x" * 8192)


def _folder(out: Path) -> None:
    with placed.folder(out) as place:
        (place / "photo.jpg").write_bytes(b"x" * 8192)


@pytest.mark.parametrize("make", [_file, _folder])
def test_a_disk_without_room_is_named_by_what_was_asked_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    out = tmp_path / ("ก" * 85)  # as long as a name may be
    with files_of_at_most(4096), pytest.raises(OSError, match="File too large") as refused:
        make(out)

    assert refused.value.filename == str(out)
    assert list(tmp_path.iterdir()) == []
    make(out)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_an_error_of_what_is_read_keeps_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing, placed.folder(tmp_path / "run"):
        (tmp_path / "photo.jpg").read_bytes()

    assert missing.value.filename == str(tmp_path / "photo.jpg")
