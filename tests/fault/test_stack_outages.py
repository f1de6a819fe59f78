"""A client, the console or the journal's disk goes away under load: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships without stubs

from cli import supervision
from tests.fault.conftest import JOURNAL_DISK_MIB
from tests.fault.load import PATIENCE_S, Load, Outcome, answering
from tests.fault.processes import answers, metric, program_pid, readiness, start, wait_until
from tests.fault.results import keep
from tests.fault.truth import backlog, check_every_answer_is_audited_once
from tests.stack import Stack

pytestmark = [pytest.mark.fault, pytest.mark.stack]

CONSOLE_DOWN_S = float(os.environ.get("FAULT_CONSOLE_DOWN_S", "20"))  # 60 on demand
AGAIN_S_MAX = 10.0
WAIT_S = 60.0


def ok(outcome: Outcome) -> bool:
    return outcome.ok


def test_a_client_killed_in_mid_stream_leaves_nothing_half_done(stack: Stack, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    key_file = tmp_path / "key"
    key_file.write_text(stack.new_key("streams"))
    received: list[str] = []
    for _ in range(3):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.fault.streaming_client", stack.layout.gateway_address),
                *(str(key_file), str(stack.layout.tls / "ca.pem")),
            ],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        kill_after = dice.randrange(5, 60)
        ids = []
        for line in process.stdout:
            if not line.endswith("\n"):
                break
            ids.append(line.strip())
            if len(ids) == kill_after:
                process.kill()
        process.wait()
        assert len(ids) >= kill_after
        received += ids
    assert wait_until(lambda: metric(stack, "amulet_calls_in_flight") == 0, within_s=WAIT_S)
    keep("client-killed-in-mid-stream", {"seed": seed, "clients": 3, "answers_received": len(received)})
    check_every_answer_is_audited_once(stack, received, tmp_path)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_a_console_that_is_away_costs_no_prediction(stack: Stack, tmp_path: Path, how: str) -> None:
    clock = answering(stack)
    with Load(stack, timeout_s=PATIENCE_S) as load:
        assert load.wait_for(ok, count=20, within_s=WAIT_S)
        away_s = time.monotonic()
        family = _console_processes(stack)
        if how == "stopped":
            supervision.stop_program(stack.layout, "console")
        else:
            for process in family:
                process.suspend()
        try:
            while time.monotonic() < away_s + CONSOLE_DOWN_S:
                assert load.wait_for(ok, count=10, within_s=WAIT_S)
            assert readiness(stack)["ready"]
            waiting = backlog(stack)
            assert waiting is not None
            assert waiting > 0
        finally:
            if how == "stopped":
                start(stack, "console")
            else:
                for process in family:
                    with suppress(psutil.NoSuchProcess):
                        process.resume()
        back_s = time.monotonic()
        assert wait_until(lambda: answers(f"{stack.layout.console_url}/readyz"), within_s=WAIT_S)
        # Delivery also has to keep up with what goes on arriving.
        assert wait_until(lambda: (backlog(stack) or 10**9) <= 20, within_s=WAIT_S)
        delivered_s = time.monotonic() - back_s
        failed = load.complaints(clock)
    keep(
        f"console-{how}-{CONSOLE_DOWN_S:.0f}s",
        {
            "away_s": round(back_s - away_s, 1),
            "calls": len(load.outcomes),
            "not_answered": len(failed),
            "backlog_events": waiting,
            "delivered_after_s": round(delivered_s, 1),
        },
    )
    assert not failed, f"{len(failed)} predictions failed although only the console was away: {failed[:3]}"
    check_every_answer_is_audited_once(stack, load.ok_ids(), tmp_path)


def test_a_full_disk_under_the_journal_is_named_and_ends_when_there_is_room(
    stack: Stack, journal_disk: Path | None, tmp_path: Path
) -> None:
    if journal_disk is None:
        pytest.skip("a small disk for the journal cannot be mounted here (needs the right to mount tmpfs)")
    other = journal_disk / "somebody-else"
    with Load(stack) as load:
        assert load.wait_for(ok, count=20, within_s=WAIT_S)
        with suppress(OSError), other.open("wb") as file:
            for _ in range(JOURNAL_DISK_MIB * 16):
                file.write(bytes(2**16))
        assert load.wait_for(lambda outcome: outcome.error == "REASON_JOURNAL_UNAVAILABLE", count=5, within_s=WAIT_S)
        told = readiness(stack)
        assert not told["ready"]
        assert "must stay free: make room" in told["problems"]["journal"]
        clock = answering(stack)
        assert wait_until(lambda: _health_of(stack) == health_pb2.HealthCheckResponse.NOT_SERVING, within_s=WAIT_S)
        assert clock.took_s() < AGAIN_S_MAX
        clock = answering(stack)
        other.unlink()
        assert load.wait_for(ok, within_s=WAIT_S)
        again_s = clock.took_s()
        assert wait_until(lambda: bool(readiness(stack).get("ready")), within_s=WAIT_S)
        ready_s = clock.took_s()
    ended = Counter(outcome.error for outcome in load.outcomes if not outcome.ok)
    keep("journal-disk-full", {"calls": len(load.outcomes), "not_answered": ended, "again_after_s": round(again_s, 2)})
    check_every_answer_is_audited_once(stack, load.ok_ids(), tmp_path)
    assert again_s < AGAIN_S_MAX
    assert ready_s < 2 * AGAIN_S_MAX


def _console_processes(stack: Stack) -> list[psutil.Process]:
    master = psutil.Process(program_pid(stack, "console"))
    return [master, *master.children(recursive=True)]


def _health_of(stack: Stack) -> int:
    with stack.channel() as channel:
        request = health_pb2.HealthCheckRequest(service="")
        try:
            return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status)
        except grpc.RpcError:
            return -1
