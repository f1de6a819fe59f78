"""The probe of the serving image, asked of a real TorchServe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.integration.torchserve.server import RunningTorchServe
from tests.pages import ROOT

pytestmark = pytest.mark.torchserve
ANSWERS: Final = ROOT / "deploy/images/answers.py"


def probed(state: Path) -> subprocess.CompletedProcess[str]:
    socket = state / "tmp" / "inference.sock"
    return subprocess.run(
        [sys.executable, str(ANSWERS), str(socket), "/ping", "any"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_torchserve_that_stands_answers_its_probe_and_one_that_ended_does_not(
    tmp_path: Path, model_store: Path
) -> None:
    with RunningTorchServe.start(tmp_path / "state", model_store) as running:
        standing = probed(running.state)
    ended = probed(running.state)

    assert standing.returncode == 0, standing.stderr
    # It refuses strangers: a 200 cannot be asked for without a token.
    assert standing.stdout.startswith("400 ")
    assert ended.returncode == 1
