"""The detector of blocking calls detects: a negative control for every test that uses it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.policy import PolicyKeeper, PolicySettings
from gateway.snapshot import Snapshot
from tests.unit.gateway.blocking import watched_for_blocking_calls
from tests.unit.gateway.cast import policy


def keeper(folder: Path) -> PolicyKeeper:
    settings = PolicySettings("http://127.0.0.1:1", "token", folder / "policy.pb")
    return PolicyKeeper(settings, on_change=lambda _: None, why_not_ready=lambda _: None)


async def test_a_file_written_on_the_loop_is_found(tmp_path: Path) -> None:
    with watched_for_blocking_calls() as blocking:
        keeper(tmp_path)._keep(policy().SerializeToString())

    assert {found.partition("\n")[0] for found in blocking.found} >= {"open", "os.fsync", "os.rename"}


async def test_the_same_in_a_thread_is_not(tmp_path: Path) -> None:
    with watched_for_blocking_calls() as blocking:
        await asyncio.to_thread(keeper(tmp_path)._keep, policy().SerializeToString())

    assert not blocking.found
    assert Snapshot.parse((tmp_path / "policy.pb").read_bytes()).revision == 1
