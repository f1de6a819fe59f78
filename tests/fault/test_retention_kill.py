"""Retention whose worker is killed at every statement and every file: nothing half deleted, all that went is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cli.layout import Layout
from tests import migrated
from tests.console_ready import new_state
from tests.fault.results import keep
from tests.integration.console.running import postgresql

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.fault, pytest.mark.timeout(1800)]


def driven(*options: str, variables: Mapping[str, str]) -> dict[str, Any]:
    memory = Path("/dev/shm")  # the kills are of a process, not of a machine
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        migrated.give_tables(Layout.of(new_state(Path(folder, "state"))), variables)
        done = subprocess.run(
            [sys.executable, "-m", "tests.fault.retention_driver", folder, *options],
            cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(("server", "every"), [("sqlite", 9), ("postgresql", 18)])
def test_what_is_due_goes_and_the_rest_stays_wherever_the_worker_was_killed(server: str, every: int) -> None:
    everywhere = bool(os.environ.get("FAULT_LONG"))
    with postgresql() if server == "postgresql" else nullcontext({}) as variables:
        told = driven("--every", "1" if everywhere else str(every), variables=variables)
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
        keep("retention-killed" if server == "sqlite" else "retention-killed-on-postgresql", told)
