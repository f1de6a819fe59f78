"""kill -9 of a real writer at random moments: nothing that it acknowledged is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from gateway.journal.recovery import recover
from tests.fault.console_place import ConsolePlace
from tests.fault.journal_process import Claims, lines_of, lost, signal_all, start

pytestmark = pytest.mark.fault

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "15"))  # 1,000 on demand
ROUNDS_PER_FOLDER = 10


@pytest.mark.timeout(300 + 3 * ROUNDS)
def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    claims, folder = Claims(), tmp_path / "journal"
    for round_ in range(ROUNDS):
        if round_ % ROUNDS_PER_FOLDER == 0:
            shutil.rmtree(folder, ignore_errors=True)
            claims = Claims()
        options = ["--advance"] if dice.random() < 0.5 else []
        callers = dice.choice([1, 8, 64])
        process = start(folder, "--callers", str(callers), "--first", str(round_ * 10**6), *options)
        kill_after = dice.randrange(1, 1200)
        for count, line in enumerate(lines_of(process)):
            claims.take(line)
            if count == kill_after:
                signal_all(process, signal.SIGKILL)
        process.wait()
        assert not lost(claims, folder), f"round {round_}"
        assert all(not finding.acknowledged for finding in recover(folder).findings)
    assert len(claims.acked) > 100


def test_a_writer_that_answers_before_its_record_is_durable_is_found_out(tmp_path: Path) -> None:
    """The negative control: the same harness, and an append that nobody waits for; the last is not begun."""
    claims, folder = Claims(), tmp_path / "journal"
    process = start(folder, "--callers", "1", "--careless", "500")
    for line in lines_of(process):
        claims.take(line)
        if len(claims.acked) == 500:
            signal_all(process, signal.SIGKILL)
    process.wait()
    assert len(lost(claims, folder)) > 0


@pytest.mark.timeout(300 + 3 * ROUNDS)
def test_a_killed_gateway_delivers_everything_that_it_acknowledged(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    place = ConsolePlace(tmp_path / "console")
    place.start()
    claims, folder = Claims(), tmp_path / "journal"
    try:
        for round_ in range(max(3, ROUNDS // 5)):
            process = start(folder, "--console", place.url, "--first", str(round_ * 10**6))
            kill_after = dice.randrange(50, 1500)
            for count, line in enumerate(lines_of(process)):
                claims.take(line)
                if count == kill_after:
                    signal_all(process, signal.SIGKILL)
            process.wait()
        process = start(folder, "--console", place.url, "--first", str(10**9), "--callers", "1")
        wanted = {f"event-{number}" for number in claims.acked.values()}
        for _ in lines_of(process):  # each further acknowledged event gives the shipper time, until all have arrived
            if wanted <= set(place.applied):
                signal_all(process, signal.SIGKILL)
        process.wait()
    finally:
        place.kill()
    applied = place.applied
    assert len(applied) == len(set(applied))
    assert wanted <= set(applied)
    sequence_of = {f"event-{number}": sequence for sequence, number in claims.acked.items()}
    order = [sequence_of[event] for event in applied if event in sequence_of]
    assert order == sorted(order)
