"""What two do to one photograph at the same moment, each in a transaction of its own on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.console.running import ROOT
from tests.migrated import database


@pytest.fixture
def happens() -> Callable[[str], dict[str, Any]]:
    def run(what: str) -> dict[str, Any]:
        with database() as url:
            done = subprocess.run(
                [sys.executable, "-m", "tests.integration.console.meanwhile", what],
                cwd=ROOT,
                env={**os.environ, "AMULET_DATABASE_URL": url},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    return run


def test_what_somebody_is_restricting_is_not_deleted_by_its_time(happens: Callable[[str], dict[str, Any]]) -> None:
    assert happens("restricts") == {"waited": True, "discarded": 0, "lost": 0}


def test_what_somebody_is_withdrawing_is_in_no_data_set(happens: Callable[[str], dict[str, Any]]) -> None:
    assert happens("withdraws") == {"waited": True, "export": "taken_back_meanwhile", "datasets": 0}
