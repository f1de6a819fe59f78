"""A real supervisord that is asked to stop a program whose end takes a while, and leaves the cores to what ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import psutil
import pytest

from cli import supervision
from cli.layout import Layout
from cli.supervision import Program
from tests.unit.cli.waiting import until

END_S = 2.0
# Asked to end, it takes its time, as a gateway does whose last calls are still answered.
SLOW = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(float(sys.argv[1])), sys.exit()))
open(sys.argv[2], "w").close()
while True:
    time.sleep(600)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """Of a supervisord that holds one program, "slow", which is ready to be told to end."""
    layout, listens = Layout.of(tmp_path / "state"), tmp_path / "listens"
    layout.logs.mkdir(parents=True)
    script = layout.state / "slow.py"
    script.write_text(SLOW)
    stack = [Program("slow", (sys.executable, "-S", str(script), str(END_S), str(listens)))]
    layout.supervisor_config.write_text(supervision.configuration(layout, stack))
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(layout.supervisor_config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        Thread(target=process.wait).start()  # or who waits for its end waits for one that is dead and not buried
        until(lambda: supervision.pid(layout) is not None and listens.exists())
        yield layout
        process.terminate()


def test_waiting_for_a_programs_end_takes_no_core_from_it(layout: Layout) -> None:
    supervisor = psutil.Process(supervision.pid(layout))
    before, began_s = supervisor.cpu_times(), time.monotonic()

    supervision.stop_program(layout, "slow")

    took_s, after = time.monotonic() - began_s, supervisor.cpu_times()
    assert took_s >= END_S
    assert [(state.name, state.pid) for state in supervision.states(layout)] == [("slow", 0)]
    assert (after.user + after.system) - (before.user + before.system) < took_s / 4  # all of it, where it looks itself


def test_a_program_that_does_not_run_cannot_be_stopped(layout: Layout) -> None:
    supervision.stop_program(layout, "slow")
    with pytest.raises(xmlrpc.client.Fault, match="NOT_RUNNING"):
        supervision.stop_program(layout, "slow")


def test_a_second_ctrl_c_does_not_leave_the_stack_running(layout: Layout) -> None:
    holds = "import sys; from pathlib import Path; from cli.layout import Layout; from cli.stack import hold"
    command = [sys.executable, "-c", f"{holds}; hold(Layout.of(Path(sys.argv[1])))", str(layout.state)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as holder:
        assert holder.stderr is not None
        assert holder.stderr.readline() == "Ctrl-C stops it.\n"
        (slow,) = supervision.states(layout)
        holder.send_signal(signal.SIGINT)
        assert holder.stderr.readline() == "Stopping …\n"
        holder.send_signal(signal.SIGINT)
        holder.send_signal(signal.SIGTERM)
        assert holder.wait(timeout=60) == 0
    assert not psutil.pid_exists(slow.pid)
    assert supervision.pid(layout) is None
