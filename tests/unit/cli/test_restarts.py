"""A real supervisord and a program that never starts: the wait between two tries stops growing."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from cli import supervision
from cli.layout import Layout
from cli.supervision import Program

TRIES = 6
WAIT_S_MAX = 1
PATIENCE_S = 60.0  # six tries take ten seconds


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.of(tmp_path / "state")
    layout.logs.mkdir(parents=True)
    return layout


@pytest.fixture
def log(layout: Layout) -> Iterator[Path]:
    """The log of a supervisord whose only program ends at once."""
    stubborn = replace(supervision.programs(layout)[0], name="stubborn", command=(sys.executable, "-Sc", "exit(1)"))
    text = _configuration(layout, stubborn)
    layout.supervisor_config.write_text(text)
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(layout.supervisor_config)]
    with (layout.logs / "out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    yield layout.logs / "supervisord.log"
    process.terminate()
    process.wait(30)


def _configuration(layout: Layout, program: Program) -> str:
    """The stack's own configuration, with a shorter bound than the stack's so that the test need not last."""
    usual = f"wait_s_max = {supervision.RESTART_WAIT_S_MAX}\n"
    text = supervision.configuration(layout, [program])
    assert usual in text
    return text.replace(usual, f"wait_s_max = {WAIT_S_MAX}\n")


def test_a_program_that_keeps_failing_is_tried_again_after_a_bounded_wait(log: Path) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while (text := log.read_text() if log.exists() else "").count("spawned: 'stubborn'") < TRIES:
        assert time.monotonic() < deadline_s, text
        time.sleep(0.1)
    moments = {
        what: [datetime.fromisoformat(at) for at in re.findall(rf"(?m)^(\S+ \S+),\d+ \w+ {what}: '?stubborn", text)]
        for what in ("exited", "spawned")
    }
    waits = [spawned - exited for exited, spawned in zip(moments["exited"], moments["spawned"][1:], strict=False)]
    assert len(waits) >= TRIES - 1
    # The supervisor looks once a second; without the bound the last of these waits is longer than five seconds.
    assert min(waits[-2:]) <= timedelta(seconds=WAIT_S_MAX + 2)
