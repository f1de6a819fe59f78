"""Processes that a command starts do not outlive it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.unit.training.data.cast import write_folder

ROOT: Final = Path(__file__).parents[3]
# Each says on stdout who works, and then works for longer than any test waits.
ABLATION: Final = """
import os, sys, time
from pathlib import Path
from training.experiments.ablate import Request, ablate, of_settings
from training.fitting.recipe import recipe_of

def see(*_):
    print(os.getpid(), flush=True)
    time.sleep(3600)

def open_eyes():
    return see

if __name__ == "__main__":
    variants = of_settings(recipe_of("standard"), ["views=1"])
    request = Request(Path(sys.argv[1]), variants, folds=2, seeds=(0, 1))
    ablate(request, open_eyes, say=lambda *_: None, jobs=2)
"""
DEMONSTRATION: Final = """
import os, sys, time
from pathlib import Path
from training.demo import photographs

def write(root, seed, name):
    print(os.getpid(), flush=True)
    time.sleep(3600)

photographs._write = write
if __name__ == "__main__":
    photographs.write_demo(Path(sys.argv[1]) / "demo", seed=0, per_class=40, processes=2)
"""

# What it measures is a pipe that nobody writes to: the process that opens it waits for ever.
MEASUREMENT: Final = """
import sys
from pathlib import Path
import numpy as np
from training.export import latency

latency.measure(Path(sys.argv[1]), np.zeros((1, 8, 8, 3), np.uint8))
"""


@pytest.mark.parametrize("script", [ABLATION, DEMONSTRATION], ids=["ablation", "demonstration"])
def test_processes_end_with_the_command_that_was_killed(tmp_path: Path, script: str) -> None:
    write_folder(tmp_path / "data", {"a": 8, "b": 8})
    (tmp_path / "command.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(tmp_path / "command.py"), str(tmp_path / "data")]

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        started: list[psutil.Process] = []
        try:
            working = {int(child.stdout.readline() or 0) for _ in range(2)}
            started = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
            child.kill()
            child.wait()
            _, left = psutil.wait_procs(started, timeout=60)
        finally:
            _end(child, started)
        said = child.stderr.read()

    assert working <= {process.pid for process in started}
    assert left == []
    assert "leaked" not in said  # whoever killed it is told of no fault


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_form_is_measured_no_longer_than_somebody_waits_for_it(tmp_path: Path, ending: signal.Signals) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", MEASUREMENT, str(tmp_path / "model.onnx")]

    with subprocess.Popen(command, env={**environment, "TMPDIR": str(tmp_path)}) as child:
        started: list[psutil.Process] = []
        pipe: int | None = None
        try:
            while pipe is None:
                assert child.poll() is None
                pipe = _opened_by_a_reader(tmp_path / "model.onnx")
            started = psutil.Process(child.pid).children(recursive=True)
            child.send_signal(ending)
            status = child.wait()
            _, left = psutil.wait_procs(started, timeout=60)
        finally:
            _end(child, started)
            if pipe is not None:
                os.close(pipe)

    assert status == -ending
    assert len(started) == 1
    assert left == []


def _end(child: subprocess.Popen[Any], started: list[psutil.Process]) -> None:
    """Whatever a test that failed has left."""
    child.kill()
    for process in started:
        if process.is_running():
            process.kill()


def _opened_by_a_reader(pipe: Path) -> int | None:
    """The other end of the pipe, or None, after a moment, where nobody reads it yet."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        time.sleep(0.02)
        return None
