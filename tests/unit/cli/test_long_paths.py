"""A stack whose folder is too deep for a socket is found from every shell, whatever its TMPDIR."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import supervision
from cli.layout import Layout
from cli.supervision import Program
from tests.pages import ROOT


@pytest.fixture
def short() -> Iterator[Path]:
    """Two temporary folders, `up` and `other`, whose paths leave room for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="amulet-", dir="/tmp"))
    for name in ("up", "other"):
        (folder / name).mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def layout(tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Layout]:
    """A supervisor that was started with TMPDIR=up, over a program that only waits."""
    layout = Layout.of(tmp_path / "ที่เก็บ ของเรา" / ("ยาว" * 10) / "state")
    layout.logs.mkdir(parents=True)
    waits = Program("gateway", (sys.executable, "-Sc", "import time; time.sleep(1e6)"))
    monkeypatch.setattr(supervision, "programs", lambda _: (waits,))
    monkeypatch.setattr(tempfile, "tempdir", str(short / "up"))
    supervision.start(layout, os.environ)
    yield layout
    monkeypatch.setattr(tempfile, "tempdir", str(short / "up"))
    supervision.stop(layout)


def status(layout: Layout, tmpdir: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "status", "--json", "--state", str(layout.state)],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmpdir)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("shell", ["up", "other"])
def test_it_is_found_from_a_shell_with_another_temporary_folder(layout: Layout, short: Path, shell: str) -> None:
    assert [process["name"] for process in status(layout, short / shell)["processes"]] == ["gateway"]


def test_a_copy_of_the_folder_finds_no_stack_of_the_other(layout: Layout, short: Path) -> None:
    copy = Layout.of(layout.state.with_name("copy"))
    shutil.copytree(layout.state, copy.state, symlinks=True)

    assert status(copy, short / "up")["processes"] == []


def test_where_its_temporary_folder_is_gone_the_next_start_takes_another(
    layout: Layout, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervision.stop(layout)
    (short / "up").rename(short / "gone")
    monkeypatch.setattr(tempfile, "tempdir", str(short / "other"))

    assert layout.supervisor_socket.parent == short / "other"
    (short / "gone").rename(short / "up")


def test_one_that_is_stopped_already_may_be_told_to_stop(layout: Layout) -> None:
    supervision.stop(layout)

    supervision.stop(layout)  # as the second of two `amulet down` does
    assert supervision.pid(layout) is None
