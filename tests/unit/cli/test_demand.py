"""A real supervisord and a program that it starts when a file says that there is work, and not before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import supervision
from cli.layout import Layout
from cli.supervision import IDLE, Program
from tests.unit.cli.waiting import until

# Takes the file away as the trainer does, says so, and works until it is told that there is nothing left.
WORK = """
import os, sys, time
wanted, works = sys.argv[1:]
os.unlink(wanted)
with open(works, "a") as file:
    file.write(f"{os.getpid()}\\n")
while os.path.exists(works + ".more"):
    time.sleep(0.05)
"""


class OnDemand:
    def __init__(self, layout: Layout, name: str) -> None:
        self.layout, self.wanted, self._works = layout, layout.console / f"{name}-wanted", layout.state / name
        self.more = Path(f"{self._works}.more")
        script = layout.state / "work.py"
        script.write_text(WORK)
        command = (sys.executable, "-S", str(script), str(self.wanted), str(self._works))
        self.program = Program(name, command, wanted=self.wanted)

    def began(self) -> list[int]:
        return [int(line) for line in self._works.read_text().splitlines()] if self._works.exists() else []

    def state(self) -> str:
        names = {state.name: state for state in supervision.states(self.layout)}
        return names[self.program.name].state


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.of(tmp_path / "state")
    layout.logs.mkdir(parents=True)
    layout.console.mkdir()
    return layout


@pytest.fixture
def witness(layout: Layout) -> OnDemand:
    """Looked after the trainer at every look: once it began, the trainer was looked at."""
    return OnDemand(layout, "witness")


@pytest.fixture
def trainer(layout: Layout, witness: OnDemand) -> Iterator[OnDemand]:
    trainer = OnDemand(layout, "trainer")
    stack = [trainer.program, witness.program]
    layout.supervisor_config.write_text(supervision.configuration(layout, stack))
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(layout.supervisor_config)]
    with (layout.logs / "out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    until(lambda: supervision.pid(layout) is not None)
    yield trainer
    trainer.more.unlink(missing_ok=True)
    process.terminate()
    process.wait(30)


def test_a_program_runs_only_while_it_is_wanted_and_never_twice(trainer: OnDemand, witness: OnDemand) -> None:
    assert trainer.state() == IDLE
    trainer.more.touch()
    trainer.wanted.touch()
    until(lambda: len(trainer.began()) == 1)
    assert trainer.state() == "RUNNING"

    trainer.wanted.touch()  # asked for again while it works
    witness.wanted.touch()
    until(lambda: len(witness.began()) == 1)
    assert len(trainer.began()) == 1

    trainer.more.unlink()  # it ends, and who asked in between is heard
    until(lambda: len(trainer.began()) == 2)
    until(lambda: trainer.state() == IDLE)
    assert not trainer.wanted.exists()


def test_one_that_is_killed_is_not_started_again_until_somebody_asks(trainer: OnDemand) -> None:
    trainer.more.touch()
    trainer.wanted.touch()
    until(lambda: len(trainer.began()) == 1)
    os.kill(trainer.began()[0], signal.SIGKILL)
    until(lambda: trainer.state() == IDLE)

    trainer.wanted.touch()
    until(lambda: len(trainer.began()) == 2)
