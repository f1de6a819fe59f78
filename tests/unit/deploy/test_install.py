"""How the lock is divided among installers, and what an interrupted installation leaves behind."""

from __future__ import annotations

from collections import defaultdict
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def locked() -> list[str]:
    return [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]


def test_every_line_of_the_lock_is_installed_once(install: ModuleType) -> None:
    tools, parts = install.divided(locked())

    assert sorted([*tools, *(line for part in parts for line in part)]) == sorted(locked())
    assert {line.partition("==")[0] for line in tools} == {"pip", "setuptools", "wheel"}
    assert all(parts)


def test_no_two_installers_write_into_one_folder(install: ModuleType) -> None:
    _, parts = install.divided(locked())
    part_of = {line.partition("==")[0]: number for number, part in enumerate(parts) for line in part}
    writers: dict[str, set[int]] = defaultdict(set)
    for distribution in distributions():
        name = distribution.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        if name in part_of:
            for file in distribution.files or ():
                writers[file.parts[0]].add(part_of[name])

    assert len(writers) > 100
    shared = {folder for folder, numbers in writers.items() if len(numbers) > 1}
    assert shared <= {".."}  # bin/ and share/, where each file has one owner


def test_what_pip_was_killed_over_is_found_and_nothing_else(install: ModuleType, tmp_path: Path) -> None:
    for name in ("whole-1.0.dist-info", "half-2.0.dist-info", "~eplaced", "package"):
        (tmp_path / name).mkdir()
    (tmp_path / "whole-1.0.dist-info" / "RECORD").touch()
    (tmp_path / "half-2.0.dist-info" / "METADATA").touch()

    assert {path.name for path in install.unfinished(tmp_path)} == {"half-2.0.dist-info", "~eplaced"}


def test_a_lock_that_cannot_be_installed_ends_with_the_reason(
    install: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("amulet-no-such-package==1.0 --hash=md5:0\n")

    assert install.main([str(lock)]) == 1
    said = capfd.readouterr().err
    assert "md5" in said
    assert "Run the same command again" in said
