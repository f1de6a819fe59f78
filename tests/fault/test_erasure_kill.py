"""An erasure whose process is killed at every statement and every file: never done too early, and nothing left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]


def driven(*options: str) -> dict[str, Any]:
    # In memory where there is such a folder: the kills are of a process, not of a machine, and thousands of syncs wait.
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        return _driven(folder, *options)


def _driven(folder: str, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.erasure_driver", folder, *options],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_killed_at_every_point_it_resumes_and_leaves_no_byte() -> None:
    told = driven()
    assert told["found_before"] > 0
    assert told["points"] > 50
    assert told["wrong"] == []


def test_a_database_that_keeps_what_it_deletes_is_noticed() -> None:
    told = driven("--keep-deleted")
    assert any("bytes are left" in each for each in told["wrong"])
