"""kill -9 of the supervisor while clients predict without pause, and `amulet up` beside what it left.

Its programs go on, and their calls with them. The next `amulet up` stops them in good order and starts all anew, so
that nothing of the old ones is left, every port is the new ones', and nothing acknowledged is lost.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from cli import supervision
from cli.leftovers import leftovers
from tests.fault.load import PATIENCE_S, Load, answering
from tests.fault.processes import answers, program_pid, wait_until
from tests.fault.results import keep
from tests.fault.test_stack_kill import CLEAR
from tests.fault.truth import check_every_answer_is_audited_once
from tests.stack import Stack

pytestmark = [pytest.mark.fault, pytest.mark.stack]
WAIT_S = 90.0


@pytest.mark.timeout(1800)
def test_a_killed_supervisor_costs_no_answer_and_the_next_start_takes_over(stack: Stack, tmp_path: Path) -> None:
    clock = answering(stack)
    with Load(stack, timeout_s=PATIENCE_S) as load:
        assert load.wait_for(lambda outcome: outcome.ok, count=20, within_s=WAIT_S)
        family, running = kill_supervisor(stack)
        began_s = time.monotonic()
        assert load.wait_for(lambda outcome: outcome.ok and outcome.began_s >= began_s, count=40, within_s=WAIT_S)
        alone = load.complaints(clock)
        told = stack.status()
        left = leftovers(stack.layout)
        # What dies now is started by nobody, until somebody starts the stack.
        console = next(process for process in left if process.pid == running["console"])
        for process in (*console.children(recursive=True), console):
            process.kill()
        assert load.wait_for(lambda outcome: outcome.ok, count=20, within_s=WAIT_S)
        assert not answers(f"{stack.layout.console_url}/readyz")
        up_s = time.monotonic()
        stack.up()
        took_s = time.monotonic() - up_s
        assert load.wait_for(lambda outcome: outcome.ok and outcome.began_s >= up_s + took_s, count=20, within_s=WAIT_S)
    ended = Counter(outcome.error for outcome in load.outcomes if not outcome.ok)
    keep(
        "supervisor-killed",
        {"calls": len(load.outcomes), "not_answered": dict(ended), "up_again_after_s": round(took_s, 1)},
    )
    assert alone == []
    assert {process.pid for process in left} == set(running.values())
    assert "run without their supervisor, which was killed" in told["problems"][0]
    assert not told["ready"]
    assert [process for process in family if process.is_running()] == []
    assert leftovers_are_none_of(stack, family)
    assert set(ended) <= CLEAR
    check_every_answer_is_audited_once(stack, load.ok_ids(), tmp_path)


@pytest.mark.timeout(1800)
def test_down_stops_what_a_killed_supervisor_left_and_frees_every_port(stack: Stack, tmp_path: Path) -> None:
    with Load(stack) as load:
        assert load.wait_for(lambda outcome: outcome.ok, count=20, within_s=WAIT_S)
        family, _running = kill_supervisor(stack)
        stack.stop()
        assert [process for process in family if process.is_running()] == []
        listening = {each.laddr.port for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
        assert not listening & {port for _host, port in stack.layout.listens().values()}
        stack.up()
        assert load.wait_for(lambda outcome: outcome.ok, count=20, within_s=WAIT_S)
    assert {outcome.error for outcome in load.outcomes if not outcome.ok} <= CLEAR
    check_every_answer_is_audited_once(stack, load.ok_ids(), tmp_path)


def kill_supervisor(stack: Stack) -> tuple[list[psutil.Process], dict[str, int]]:
    """Every process below it, and the pid of each program that ran."""
    pid = supervision.pid(stack.layout)
    assert pid is not None
    supervisor = psutil.Process(pid)
    names = [program.name for program in supervision.programs(stack.layout) if program.wanted is None]
    running = {name: program_pid(stack, name) for name in names}
    assert all(running.values())
    family = supervisor.children(recursive=True)
    supervisor.kill()
    assert wait_until(lambda: not supervisor.is_running(), within_s=WAIT_S)
    assert supervision.pid(stack.layout) is None
    return family, running


def leftovers_are_none_of(stack: Stack, family: list[psutil.Process]) -> bool:
    """Whether what runs now is the new supervisor's alone."""
    pid = supervision.pid(stack.layout)
    assert pid is not None
    mine = {process.pid for process in psutil.Process(pid).children()}
    return {process.pid for process in leftovers(stack.layout)} <= mine and not mine & {each.pid for each in family}
