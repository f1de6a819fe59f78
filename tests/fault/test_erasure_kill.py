"""An erasure whose process is killed at every statement and every file: never done too early, and nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
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
pytestmark = pytest.mark.fault


def driven(*options: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    # In memory where there is such a folder: the kills are of a process, not of a machine, and thousands of syncs wait.
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        return _driven(folder, options, variables or {})


def _driven(folder: str, options: Sequence[str], variables: Mapping[str, str]) -> dict[str, Any]:
    migrated.give_tables(Layout.of(new_state(Path(folder, "state"))), variables)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.erasure_driver", folder, *options],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_killed_at_every_point_it_resumes_and_leaves_no_byte() -> None:
    told = driven()
    assert any("journal/rejected" in each for each in told["found_before"])
    assert any("db.sqlite3" in each for each in told["found_before"])
    assert told["points"] > 50
    assert told["wrong"] == []


def test_a_database_that_keeps_what_it_deletes_is_noticed() -> None:
    told = driven("--keep-deleted")
    assert any("bytes are left" in each for each in told["wrong"])


def test_on_postgresql_too_and_no_table_holds_a_word() -> None:
    everywhere = bool(os.environ.get("FAULT_LONG"))
    with postgresql() as variables:
        told = driven("--every", "1" if everywhere else "12", variables=variables)
    wanted = {"datasets_label", "sheets_sheetitem", "review_expertdecision", "predictions_prediction", "vault_consent"}
    assert wanted <= set(told["found_before"])
    assert told["last"] > 50
    assert told["wrong"] == []
    if everywhere:
        keep("erasure-killed-on-postgresql", told)


def test_a_table_that_no_store_looks_into_is_noticed() -> None:
    with postgresql() as variables:
        told = driven("--every", "40", "--one-more-table", variables=variables)
    assert any("pulse_pulse: canary-" in each for each in told["wrong"])
