"""What `amulet status` says of a program that has ended while its supervisor does not know it yet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli import supervision
from cli.layout import Layout, Ports
from cli.report import ENDED, look, reports_of, told
from cli.supervision import ProgramState
from tests.ports import free_offset
from tests.unit.cli.waiting import until


@pytest.fixture
def unreaped() -> Iterator[int]:
    """Process id of one that has ended, and whose parent has not asked about it."""
    process = subprocess.Popen([sys.executable, "-Sc", ""])
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    yield process.pid
    process.wait()


@pytest.fixture
def gone() -> int:
    process = subprocess.Popen([sys.executable, "-Sc", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("which", ["unreaped", "gone"])
def test_what_has_ended_is_not_called_running(which: str, request: pytest.FixtureRequest) -> None:
    state = ProgramState("gateway", "RUNNING", request.getfixturevalue(which), "")

    (report,) = reports_of(state)

    assert (report.state, report.pid) == (ENDED, 0)


@pytest.mark.parametrize(("name", "is_said"), [("worker", True), ("trainer", False)])
def test_a_stack_of_which_one_has_just_ended_is_not_ready_and_says_which(
    tmp_path: Path, gone: int, monkeypatch: pytest.MonkeyPatch, name: str, is_said: bool
) -> None:
    layout = Layout(tmp_path, Ports(free_offset()))

    def states(_: Layout) -> tuple[ProgramState, ...]:
        return (ProgramState(name, "RUNNING", gone, ""),)

    monkeypatch.setattr(
        supervision, "states", states
    )  # stands for the supervisor in the moment that it has not noticed

    report = look(layout)

    assert (f"{name} has just ended, and is started again" in report.problems) is is_said
    assert "RUNNING" not in told(report, layout)
