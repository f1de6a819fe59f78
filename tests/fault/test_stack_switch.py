"""A version that went wrong is rolled back under load: the way back costs no call, however late gateways hear of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import psutil
import pytest

from model_store import signing
from tests import tiny_archive
from tests.fault.load import PATIENCE_S, Load, Outcome, answering
from tests.fault.processes import program_pid, wait_until
from tests.fault.results import keep
from tests.fault.truth import check_every_answer_is_audited_once
from tests.stack import Stack

pytestmark = [pytest.mark.fault, pytest.mark.stack]
SECOND: Final = "v20260102_tiny_1.000"
WAIT_S: Final = 60.0
UNLOADED_S_MAX: Final = 120.0  # what is held for a minute at most, and a machine that is busy
UNHEARD: Final = 60  # answers while no gateway hears the console; the keeper looks once a second


def ok(outcome: Outcome) -> bool:
    return outcome.ok


@pytest.mark.timeout(1800)
def test_a_rollback_long_after_the_rollout_costs_no_call(stack: Stack, tmp_path: Path) -> None:
    _serve_another(stack, tmp_path)
    approver = stack.console("approver")
    family = _console_processes(stack)
    clock = answering(stack)
    with Load(stack, timeout_s=PATIENCE_S) as load:
        assert load.wait_for(ok, count=20, within_s=WAIT_S)
        _let_holds_pass(stack)
        unloaded = _times_unloaded(stack, SECOND)  # after its smoke test
        approver.call("POST", "models/tiny/rollback/", json={"reason": "worse after all"})
        for process in family:
            process.suspend()
        try:
            assert load.wait_for(ok, count=UNHEARD, within_s=WAIT_S)
        finally:
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        # The memory comes back, and nobody is asked for what is gone.
        assert wait_until(lambda: _times_unloaded(stack, SECOND) > unloaded, within_s=UNLOADED_S_MAX)
        assert load.wait_for(ok, count=20, within_s=WAIT_S)
    failed = load.complaints(clock)
    keep("rollback-under-load", {"calls": len(load.outcomes), "not_answered": len(failed)})
    assert not failed, f"{len(failed)} calls failed over a rollback: {failed[:3]}"
    check_every_answer_is_audited_once(stack, load.ok_ids(), tmp_path)


def _serve_another(stack: Stack, folder: Path) -> None:
    key = folder / "switch.key"
    signing.generate_key(key)
    (folder / "switch.pem").write_bytes(signing.public_pem(key))
    stack.trust(folder / "switch.pem")
    (folder / "run").mkdir()
    tiny_archive.write_archive(folder / "run", folder / "second.mar", key=key, version=SECOND)
    stack.serve(folder / "second.mar", version=SECOND)


def _let_holds_pass(stack: Stack) -> None:
    """Minutes pass for what a rollout holds."""
    with closing(sqlite3.connect(stack.layout.console / "db.sqlite3", timeout=WAIT_S)) as database, database:
        database.execute("UPDATE registry_modelversion SET held_until = '2026-01-01 00:00:00'")


def _times_unloaded(stack: Stack, version: str) -> int:
    said = (stack.layout.logs / "keeper.log").read_text().splitlines()
    return sum('"unregistered"' in line and version in line for line in said)


def _console_processes(stack: Stack) -> list[psutil.Process]:
    master = psutil.Process(program_pid(stack, "console"))
    return [master, *master.children(recursive=True)]
