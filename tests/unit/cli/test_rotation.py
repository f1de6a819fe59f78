"""A real supervisord and a program that says much: no log that cannot be rotated holds it up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from cli import supervision
from cli.layout import Layout
from cli.supervision import Program
from tests.pages import ROOT
from tests.unit.cli.waiting import until

LOG_BYTES_MAX: Final = 2**20
PIPE_BYTES: Final = 2**16
# Says three logs full, and so much more whenever somebody asks for it; then says in a file of its own that it is done.
TALKS: Final = """
import os, sys, time
folder, said = sys.argv[1], 0
while True:
    for _ in range(3 * 2**20 // 64):
        print(f"{said:062d}", flush=True)
        said += 1
    open(os.path.join(folder, "said"), "w").close()
    while not os.path.exists(os.path.join(folder, "more")):
        time.sleep(0.05)
    os.remove(os.path.join(folder, "more"))
"""


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(supervision, "LOG_MIB_MAX", LOG_BYTES_MAX // 2**20)
    layout = Layout.of(tmp_path / "state")
    layout.logs.mkdir(parents=True)
    (layout.state / "talks.py").write_text(TALKS)
    return layout


@contextmanager
def talking(layout: Layout) -> Iterator[Path]:
    """The log of a program that a supervisor with the stack's own configuration has just started."""
    command = (sys.executable, "-S", str(layout.state / "talks.py"), str(layout.state))
    layout.supervisor_config.write_text(supervision.configuration(layout, [Program("talker", command)]))
    supervisord = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(layout.supervisor_config)]
    with (layout.state / "out").open("wb") as out:
        process = subprocess.Popen(supervisord, stdout=out, stderr=out)
    try:
        yield layout.logs / "talker.log"
    finally:
        process.terminate()
        process.wait(30)


def has_said_all(layout: Layout) -> bool:
    return (layout.state / "said").exists()


def last_line(log: Path) -> int:
    lines = log.read_bytes().splitlines()
    return int(lines[-1]) if lines else -1  # none: it was rotated this moment


def test_a_log_that_cannot_be_moved_aside_is_begun_anew_and_holds_nobody_up(layout: Layout) -> None:
    for number in (1, 2, 3):
        (layout.logs / f"talker.log.{number}" / "of somebody").mkdir(parents=True)

    with talking(layout) as log:
        until(lambda: has_said_all(layout))

        until(lambda: last_line(log) == 3 * 2**20 // 64 - 1)
        assert log.stat().st_size <= LOG_BYTES_MAX + PIPE_BYTES
        assert f"{log} cannot be moved aside" in (layout.logs / "supervisord.log").read_text()


def test_a_log_whose_folder_is_gone_and_comes_back_is_written_again(layout: Layout) -> None:
    with talking(layout) as log:
        until(lambda: has_said_all(layout))
        layout.logs.rename(layout.state / "elsewhere")
        (layout.state / "said").unlink()
        (layout.state / "more").touch()
        until(lambda: has_said_all(layout))  # though nothing takes it
        layout.logs.mkdir()
        (layout.state / "more").touch()

        until(lambda: log.exists() and last_line(log) == 3 * (3 * 2**20 // 64) - 1)


def test_after_a_rotation_a_log_that_is_copied_and_truncated_has_no_hole(layout: Layout) -> None:
    with talking(layout) as log:
        until(lambda: has_said_all(layout) and last_line(log) == 3 * 2**20 // 64 - 1)
        assert log.with_name("talker.log.1").is_file()
        with log.open("r+b") as copied:
            copied.truncate()  # as logrotate's copytruncate
        (layout.state / "said").unlink()
        (layout.state / "more").touch()
        until(lambda: has_said_all(layout))

        until(lambda: b"\n" in log.read_bytes())
        assert b"\0" not in log.read_bytes()
        assert all(b"\0" not in each.read_bytes() for each in layout.logs.glob("talker.log.*"))


def test_each_log_is_bounded_and_so_many_are_kept_as_the_page_says(layout: Layout) -> None:
    found = ConfigParser(interpolation=None)
    found.read_string(supervision.configuration(layout, supervision.programs(layout)))

    logs = [found[name] for name in found.sections() if name == "supervisord" or name.startswith("program:")]
    for log in logs:
        (name,) = [key for key in log if key.endswith("logfile")]
        assert (log[f"{name}_maxbytes"], log[f"{name}_backups"]) == ("1MB", "3")
    assert len(logs) == 1 + len(supervision.programs(layout))
    assert "four of each at most" in (ROOT / "docs/operators/running.md").read_text()
