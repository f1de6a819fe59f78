"""kill -9 of every process of the stack while clients predict without pause, and where the other kills are.

Afterwards every prediction that a client holds an OK for has exactly one audit record, the
chain verifies, no call ended without a clear word, and after each kill the stack answered
again within 10 s.

Rounds with kill -9 at a random moment, of each run of `make fault` (and of `make fault-long KILLS=1000`):

    here                        58  (1160)   gateway 10, decoder 10, TorchServe 8 and its worker 10, console 8,
                                             the worker of tasks 8, keeper 4
    test_journal_kill           18  (1200)   a journal that is written, and one that is shipped as well
    test_stack_outages           3     (3)   a client in mid-stream

Beside them, at a chosen moment: 24 calls of the journal and its shipper (test_journal_strace), the database
(test_database_away), steps of the demonstration and of an erasure; and the supervisor (test_supervisor_kill).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import pytest

from cli import supervision
from tests.fault.load import UNREACHABLE, Load
from tests.fault.processes import answers, program_pid, wait_until
from tests.fault.results import keep
from tests.fault.truth import check_every_answer_is_audited_once, signed_entries
from tests.machine import Watch
from tests.stack import Stack

pytestmark = [pytest.mark.fault, pytest.mark.stack]

KILLS_EACH = int(os.environ.get("FAULT_KILLS", "10"))  # at most
AGAIN_S_MAX = 10.0
GIVE_UP_S = 90.0
DATA_PLANE = ("gateway", "decoder", "torchserve", "torchserve worker")
# Target -> its share of KILLS_EACH: those that answer as often as may be, the others as long as they take.
SHARES = {
    "gateway": 1.0,
    "decoder": 1.0,
    "torchserve": 0.8,
    "torchserve worker": 1.0,
    "console": 0.8,
    "worker": 0.8,
    "keeper": 0.4,
}
TARGETS = tuple(SHARES)
PROGRAMS = {"decoder": "gateway", "torchserve worker": "torchserve"}  # whose child it is
# How a call may end that met a kill: nobody there, or one of these reasons. Never INTERNAL.
CLEAR = {
    UNREACHABLE,
    "REASON_BACKEND_UNAVAILABLE",
    "REASON_MODEL_NOT_READY",
    "REASON_DEADLINE_EXCEEDED",
    "REASON_OVERLOADED",
}


def victim(stack: Stack, target: str, dice: random.Random) -> psutil.Process | None:
    """The process to kill; None while there is none."""
    parent = program_pid(stack, PROGRAMS.get(target, target))
    try:
        process = psutil.Process(parent) if parent else None
        if process is None or target in ("gateway", "torchserve", "worker", "keeper"):
            return process
        children = process.children()
        if target in PROGRAMS:
            return dice.choice(children) if children else None
        return dice.choice([process, *children])  # the console's master, or the process that answers
    except psutil.NoSuchProcess:
        return None


def works(stack: Stack, load: Load, target: str) -> Callable[[psutil.Process], bool]:
    """Taken before a kill: waits until what was killed does its work again, and says whether it does."""
    log = stack.layout.logs / f"{target}.log"
    signed = signed_entries(stack)
    began_s, said_bytes = time.monotonic(), log.stat().st_size if log.exists() else 0

    def again(killed: psutil.Process) -> bool:
        if target in DATA_PLANE:
            return load.wait_for(lambda outcome: outcome.ok and outcome.began_s >= began_s, within_s=GIVE_UP_S)
        return wait_until(lambda: not killed.is_running() and there(), within_s=GIVE_UP_S)

    def there() -> bool:
        if target == "console":
            return answers(f"{stack.layout.console_url}/readyz")
        if target == "keeper":  # who predicts writes to the audit log all the time
            return signed_entries(stack) > signed
        with log.open("rb") as file:  # a worker of Celery says so when it takes tasks
            file.seek(said_bytes)
            return b" ready." in file.read()

    return again


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, and after how many seconds the work was done again."""

    target: str
    took_s: float
    held_up_s: float  # what other work on this machine can have cost of that, at most

    @property
    def late(self) -> bool:
        return self.took_s - self.held_up_s > AGAIN_S_MAX


def kill_one(stack: Stack, load: Load, target: str, dice: random.Random) -> Kill:
    found: list[psutil.Process] = []

    def alive() -> bool:
        process = victim(stack, target, dice)
        found.extend([process] if process is not None else [])
        return bool(found)

    assert wait_until(alive, within_s=GIVE_UP_S), f"there is no {target} to kill"
    supervisor = supervision.pid(stack.layout)
    assert supervisor is not None
    watch = Watch([psutil.Process(supervisor), psutil.Process()])
    again = works(stack, load, target)
    killed_s = time.monotonic()
    found[0].kill()
    assert again(found[0]), f"{target} does not work again"
    return Kill(target, time.monotonic() - killed_s, watch.held_up_s())


@pytest.mark.timeout(300 + 30 * KILLS_EACH * len(TARGETS))
def test_nothing_acknowledged_is_lost_when_any_process_is_killed(stack: Stack, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    order = [target for target, share in SHARES.items() for _ in range(max(1, round(KILLS_EACH * share)))]
    dice.shuffle(order)
    kills: list[Kill] = []
    began_s = time.monotonic()
    with Load(stack) as load:
        assert load.wait_for(lambda outcome: outcome.ok, count=20, within_s=GIVE_UP_S)
        for target in order:
            kills.append(kill_one(stack, load, target, dice))
            # At half load the next kill comes after a random number of answers.
            assert load.wait_for(lambda outcome: outcome.ok, count=dice.randrange(1, 40), within_s=GIVE_UP_S)
    ended = Counter(outcome.error for outcome in load.outcomes if not outcome.ok)
    keep(
        f"kills-{len(kills)}",
        {
            "seed": seed,
            "took_s": round(time.monotonic() - began_s, 1),
            "calls": len(load.outcomes),
            "answered": len(load.ok_ids()),
            "not_answered": dict(ended),
            "again_after": {target: _told([kill for kill in kills if kill.target == target]) for target in TARGETS},
        },
    )
    check_every_answer_is_audited_once(stack, load.ok_ids(), tmp_path, finds=True)
    assert set(ended) <= CLEAR
    assert not [kill for kill in kills if kill.late]


def _told(kills: Sequence[Kill]) -> dict[str, float]:
    times = sorted(kill.took_s for kill in kills)
    return {
        "kills": len(kills),
        "median_s": round(median(times), 2),
        "max_s": round(times[-1], 2),
        "held_up_by_others_s_max": round(max(kill.held_up_s for kill in kills), 2),
        "max_less_held_up_s": round(max(kill.took_s - kill.held_up_s for kill in kills), 2),
    }
