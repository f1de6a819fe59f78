"""What answers calls comes first where cores are short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cli import supervision
from cli.layout import Layout
from cli.supervision import Program
from tests.unit.cli.waiting import until


def test_a_program_that_yields_runs_below_the_others(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path / "state")
    layout.logs.mkdir(parents=True)
    command = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
    stack = (Program("answers", command), Program("shows", command, yields=True))
    layout.supervisor_config.write_text(supervision.configuration(layout, stack))
    supervisor = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(layout.supervisor_config)]
    with subprocess.Popen(supervisor, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        until(lambda: supervision.pid(layout) is not None)
        until(lambda: {state.state for state in supervision.states(layout)} == {"RUNNING"})
        # Of the program itself: what lowered it has become it.
        niceness = {state.name: os.getpriority(os.PRIO_PROCESS, state.pid) for state in supervision.states(layout)}
        process.terminate()

    assert niceness["shows"] == min(niceness["answers"] + 10, 19)


def test_on_one_machine_the_console_yields_and_what_answers_does_not(tmp_path: Path) -> None:
    yields = {program.name: program.yields for program in supervision.programs(Layout.of(tmp_path))}

    assert yields == {
        "torchserve": False, "gateway": False, "console": True, "keeper": True, "worker": True, "trainer": True,
    }  # fmt: skip
