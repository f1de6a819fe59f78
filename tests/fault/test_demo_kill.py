"""The demonstration, killed with SIGKILL in each of its steps, goes on when it is started again.

The model is the tests' tiny one, put where training would have left it: what is tested is
the way, not the answers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo import MODEL
from cli.layout import Layout, Ports
from cli.stack import stop
from tests import tiny_archive
from tests.stack import free_offset

pytestmark = [pytest.mark.stack, pytest.mark.fault]
ROOT = Path(__file__).parents[2]
STEP_S_MAX = 240.0


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    found = Layout(tmp_path / "งาน demo", Ports(free_offset()))
    yield found
    stop(found)


def start(layout: Layout) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMULET_")}
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo", "--check", "--state", str(layout.state),
         "--port-offset", str(layout.ports.offset)],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def kill(process: subprocess.Popen[str]) -> None:
    """The command and whatever it runs at this moment; the supervisor, which is a daemon, goes on."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def put_model(layout: Layout) -> None:
    tiny_archive.write_run(layout.state / "run", name=MODEL)
    for colour in tiny_archive.CLASSES:
        (layout.state / "photos" / colour).mkdir(parents=True)


def said_until(process: subprocess.Popen[str], word: str) -> str:
    """What the process says until a line holds `word`."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if word in line:
            return said
    pytest.fail(f"it never said {word!r}:\n{said}")


def test_a_demonstration_killed_while_it_draws_leaves_nothing_to_the_next(layout: Layout) -> None:
    process = start(layout)
    deadline = time.monotonic() + STEP_S_MAX
    while not list(layout.state.glob(".photos-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kill(process)
    assert not (layout.state / "photos").exists()
    put_model(layout)
    shutil.rmtree(layout.state / "photos")

    again = start(layout)
    said_until(again, "Demonstration photographs")
    while len(list(layout.state.glob(".photos-*"))) != 1:  # its own; the killed one's is gone
        assert again.poll() is None
        assert time.monotonic() < deadline + STEP_S_MAX
        time.sleep(0.05)
    kill(again)


def test_a_demonstration_killed_in_any_later_step_goes_on(layout: Layout) -> None:
    layout.state.mkdir()
    put_model(layout)
    steps = (
        "A signed archive",
        "TorchServe, gateway",
        "Members of staff",
        "Uploaded by one person",
        "Three photographs",
    )
    for step in steps:
        process = start(layout)
        said_until(process, step)
        time.sleep(0.7)  # somewhere in the step, not at its first instant
        kill(process)

    last = start(layout)
    said, _ = last.communicate(timeout=STEP_S_MAX)

    assert "Traceback" not in said
    assert "failed with exit status" not in said
    for claim in ("the gateway serves it", "the audit log verifies offline", "all is stopped"):
        assert f"✓ {claim}" in said, said
    assert said.count("is there exactly once") == said.count("✓ prediction") == 3
    assert not list(layout.state.glob(".*"))


def test_a_demonstration_that_is_interrupted_stops_what_it_started(layout: Layout) -> None:
    layout.state.mkdir()
    put_model(layout)
    process = start(layout)
    said_until(process, "Members of staff")

    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=STEP_S_MAX)

    assert process.returncode == 1
    assert "Stopping what was started" in said
    assert "Traceback" not in said
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "status", "--state", str(layout.state)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "no stack runs in" in done.stdout
