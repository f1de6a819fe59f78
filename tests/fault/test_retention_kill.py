"""Retention whose worker is killed at every statement and every file: nothing half deleted, all that went is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cli.layout import Layout
from tests import migrated
from tests.console_ready import new_state
from tests.fault.results import keep

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.fault, pytest.mark.timeout(1800)]


def driven(*options: str) -> dict[str, Any]:
    memory = Path("/dev/shm")  # the kills are of a process, not of a machine
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        migrated.give_tables(Layout.of(new_state(Path(folder, "state"))), {})
        done = subprocess.run(
            [sys.executable, "-m", "tests.fault.retention_driver", folder, *options],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        return dict(json.loads(done.stdout.splitlines()[-1]))


def test_what_is_due_goes_and_the_rest_stays_wherever_the_worker_was_killed() -> None:
    everywhere = bool(os.environ.get("FAULT_LONG"))
    told = driven("--every", "1" if everywhere else "9")
    wanted = told["wanted"]
    assert wanted["said"] == {
        "photographs": 2, "sheets": 1, "feedback": 1, "erasures": 1, "calls": 1, "deliveries": 1, "predictions": 1,
        "consents": 2, "requests": 1, "sessions": 1, "attempts": 1,
    }  # fmt: skip
    assert wanted["sheet"] == ["held", "run-out", "run-out-held", "withdrawn-held", "young"]
    kept = {"keep-held", "keep-run-out-held", "keep-withdrawn", "keep-withdrawn-held", "keep-young"}
    assert {reference for reference, _kind in wanted["photographs"]} == kept
    assert not {"keep-long-ended", "train-long-ended"} & set(wanted["consents"])
    young = ("feedback", "erased", "sessions", "attempts", "calls")
    assert {name: wanted[name] for name in young} == {name: ["young"] for name in young}
    assert (wanted["predictions"], wanted["deliveries"], wanted["requests"]) == (6, [1, 2], 1)
    assert (wanted["files"], wanted["whole"], wanted["failed"]) == (True, True, {})
    assert told["points"] > 5
    assert told["wrong"] == []
    if everywhere:
        keep("retention-killed", told)
