"""A real supervisord that is killed, or holds a program that cannot stay: whoever comes next is told, or mends it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cli import supervision
from cli.checks.machine import ports
from cli.layout import Layout, Ports
from cli.leftovers import leftovers
from cli.main import main
from cli.report import look
from cli.stack import READY_S_MAX, StackError, _wait_until_ready, hold, stop
from cli.supervision import Program
from tests.ports import free_offset
from tests.unit.cli.waiting import until

# With a child, as the gateway has decoders, and an end in good order that leaves a sign.
LONG = """
import pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
def end(*_):
    pathlib.Path(sys.argv[1], "ended").touch()
    child.terminate()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1], "listens").touch()
time.sleep(600)
"""
REFUSES = "import sys; sys.exit('gateway: AMULET_KEY_SECRET_FILE names /srv/key, which cannot be read')"


@contextmanager
def supervised(layout: Layout, *stack: Program) -> Iterator[psutil.Process]:
    layout.logs.mkdir(parents=True, exist_ok=True)
    layout.supervisor_config.write_text(supervision.configuration(layout, stack))
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(layout.supervisor_config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            until(lambda: supervision.pid(layout) is not None)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state", Ports(free_offset()))


def test_what_a_killed_supervisor_left_is_stopped_in_good_order(layout: Layout, tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text(LONG)
    with supervised(layout, Program("gateway", (sys.executable, "-S", str(script), str(tmp_path)))) as supervisor:
        until((tmp_path / "listens").exists)
        family = supervisor.children(recursive=True)
        supervisor.kill()
        supervisor.wait()
    assert supervision.pid(layout) is None

    assert [process.pid for process in leftovers(layout)] == [family[0].pid]
    assert "run without their supervisor, which was killed" in " ".join(look(layout).problems)
    host, port = layout.listens()["gateway"]
    with socket.create_server((host, port)):
        found = ports(layout)
    assert found.found == f"held by 1 programs of this stack whose supervisor is gone: {port} (gateway)"
    assert "`amulet down`" in found.mend
    assert stop(layout)

    assert (tmp_path / "ended").exists()
    assert len(family) == 2
    assert not [process for process in family if process.is_running()]
    assert not leftovers(layout)
    assert look(layout).problems == (f"no stack runs in {layout.state}: `amulet up` starts it",)
    assert not stop(layout)


def test_whoever_holds_a_stack_is_told_that_its_supervisor_was_killed(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "long.py"
    script.write_text(LONG)
    with supervised(layout, Program("gateway", (sys.executable, "-S", str(script), str(tmp_path)))) as supervisor:
        until((tmp_path / "listens").exists)
        supervisor.kill()
        supervisor.wait()
    try:
        with pytest.raises(
            StackError, match="1 programs run without their supervisor, which was killed: `amulet down`"
        ):
            hold(layout)
    finally:
        assert stop(layout)
    assert "stopped from elsewhere" not in capsys.readouterr().err

    hold(layout)

    assert "The stack was stopped from elsewhere." in capsys.readouterr().err


def test_what_another_stack_runs_is_left_alone(layout: Layout, tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text(LONG)
    other = Layout(tmp_path / "other", Ports(layout.ports.offset))
    with supervised(other, Program("gateway", (sys.executable, "-S", str(script), str(tmp_path)))):
        until((tmp_path / "listens").exists)

        assert not leftovers(layout)
        assert leftovers(other)


def test_a_program_that_ends_each_time_is_not_waited_for_and_its_sentence_is_said(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "RESTART_WAIT_S_MAX", 1)
    began_s = time.monotonic()
    with (
        supervised(layout, Program("gateway", (sys.executable, "-S", "-c", REFUSES))),
        pytest.raises(StackError) as wrong,
    ):
        _wait_until_ready(layout, quiet=True)

    assert time.monotonic() - began_s < READY_S_MAX
    assert "gateway ends each time that it is started: gateway: AMULET_KEY_SECRET_FILE names /srv/key" in str(
        wrong.value
    )


def test_what_runs_already_is_not_taken_for_started_anew(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervision, "RESTART_WAIT_S_MAX", 1)
    with supervised(layout, Program("gateway", (sys.executable, "-S", "-c", REFUSES))):
        layout.record.write_text(json.dumps(layout.document()))
        assert main(["up", "--detach", "--state", str(layout.state)]) == 1

    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(f"The stack in {layout.state} runs already, and nothing is started anew")
    assert first.endswith(f"`amulet down --state {layout.state}` first.")


def test_a_stack_that_is_stopped_from_elsewhere_is_not_waited_for(layout: Layout) -> None:
    with pytest.raises(StackError, match="was stopped from elsewhere"):
        _wait_until_ready(layout, quiet=True)
