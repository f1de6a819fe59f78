"""What the commands of training make, killed at every point: whole or as it was, and made all the same afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.fault


# Of each case how many points it has at least, and at which of them it is killed where time is short.
CASES: Final = {
    "file": (4, 1),
    "run": (8, 1),
    "synth": (10, 3),
    "outside": (10, 4),
    "explain": (24, 4),
    "package": (24, 7),
}


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    # In memory where there is such a folder: the kills are of a process, not of a machine, and thousands of syncs wait.
    memory = Path("/dev/shm")
    everywhere = bool(os.environ.get("FAULT_LONG"))
    cases = [f"{name}={1 if everywhere else every}" for name, (_, every) in CASES.items()]
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fault.making_driver", folder, *cases],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", CASES)
def test_killed_at_any_point_it_is_whole_or_as_it_was_and_is_made_all_the_same(
    name: str, told: dict[str, dict[str, Any]]
) -> None:
    of_case = told[name]

    assert of_case["wrong"] == []
    assert of_case["last"] >= CASES[name][0]
    assert 0 < of_case["as_before"] <= of_case["points"]
