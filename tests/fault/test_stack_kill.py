"""kill -9 of every process of the stack, ten times each, while clients predict without pause.

Afterwards every prediction that a client holds an OK for has exactly one audit record, the
chain verifies, and after each kill the stack answered again within 10 s.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.fault.load import Load
from tests.fault.processes import answers, program_pid, slowdown, wait_until
from tests.fault.truth import check_every_answer_is_audited_once
from tests.stack import Stack

pytestmark = [pytest.mark.fault, pytest.mark.stack]

KILLS_EACH = int(os.environ.get("FAULT_KILLS", "10"))
AGAIN_S_MAX = 10.0
GIVE_UP_S = 90.0
DATA_PLANE = ("gateway", "torchserve", "torchserve worker")
TARGETS = (*DATA_PLANE, "console", "worker")


def victim(stack: Stack, target: str, dice: random.Random) -> psutil.Process | None:
    """The process to kill; None while there is none."""
    parent = program_pid(stack, "torchserve" if target == "torchserve worker" else target)
    try:
        process = psutil.Process(parent) if parent else None
        if process is None or target in ("gateway", "torchserve", "worker"):
            return process
        children = process.children()
        if target == "torchserve worker":
            return children[0] if children else None
        return dice.choice([process, *children])  # the console's master, or the process that answers
    except psutil.NoSuchProcess:
        return None


def answers_again(stack: Stack, load: Load, target: str, killed: psutil.Process, killed_s: float) -> bool:
    """Wait until what was killed does its work again."""
    if target in DATA_PLANE:
        return load.wait_for(lambda outcome: outcome.ok and outcome.began_s >= killed_s, within_s=GIVE_UP_S)
    return wait_until(
        lambda: (
            not killed.is_running()
            and program_pid(stack, target) not in (0, killed.pid)
            and (target != "console" or answers(f"{stack.layout.console_url}/readyz"))
        ),
        within_s=GIVE_UP_S,
    )


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, and after how many seconds the work was done again."""

    target: str
    took_s: float
    slowdown: float  # of this machine meanwhile, by other work

    @property
    def late(self) -> bool:
        return self.took_s > AGAIN_S_MAX * self.slowdown


def kill_one(stack: Stack, load: Load, target: str, dice: random.Random) -> Kill:
    found: list[psutil.Process] = []

    def alive() -> bool:
        process = victim(stack, target, dice)
        found.extend([process] if process is not None else [])
        return bool(found)

    assert wait_until(alive, within_s=GIVE_UP_S), f"there is no {target} to kill"
    before = slowdown()
    killed_s = time.monotonic()
    found[0].kill()
    assert answers_again(stack, load, target, found[0], killed_s), f"{target} does not answer again"
    took_s = time.monotonic() - killed_s
    return Kill(target, took_s, max(before, slowdown(), 1.0))


@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost_when_any_process_is_killed(stack: Stack, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    order = list(TARGETS) * KILLS_EACH
    dice.shuffle(order)
    kills: list[Kill] = []
    with Load(stack) as load:
        assert load.wait_for(lambda outcome: outcome.ok, count=20, within_s=GIVE_UP_S)
        for target in order:
            kills.append(kill_one(stack, load, target, dice))
            # At half load the next kill comes after a random number of answers.
            assert load.wait_for(lambda outcome: outcome.ok, count=dice.randrange(1, 40), within_s=GIVE_UP_S)
    print(f"{len(load.ok_ids())} of {len(load.outcomes)} calls were answered")
    for target in TARGETS:
        times = sorted(kill.took_s for kill in kills if kill.target == target)
        print(f"{target}: again after {times[len(times) // 2]:.1f} s in the middle, {times[-1]:.1f} s at most")
    print(f"the machine was {max(kill.slowdown for kill in kills):.1f} times slower than alone at most")
    check_every_answer_is_audited_once(stack, load.ok_ids(), tmp_path)
    assert not [kill for kill in kills if kill.late]
