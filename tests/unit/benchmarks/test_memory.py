"""What the processes of a system hold, on processes of which it is known."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from benchmarks import memory

HOLD = "held = bytearray(64 * 2**20)\nprint('held', flush=True)\ninput()"


def test_processes_of_one_role_are_held_together_and_the_largest_is_named() -> None:
    small, large = "print('held', flush=True)\ninput()", HOLD
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for code in (small, large)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        held = [memory.held([psutil.Process(process.pid)])["server"] for process in running]
        both = memory.held([psutil.Process(process.pid) for process in running])["server"]
    finally:
        for process in running:
            process.kill()
            process.communicate()

    assert both["processes"] == 2
    assert both["largest_rss_mib"] == pytest.approx(held[1]["largest_rss_mib"], abs=1)
    assert held[1]["largest_rss_mib"] - held[0]["largest_rss_mib"] == pytest.approx(64, abs=4)
    assert both["pss_mib"] == pytest.approx(held[0]["pss_mib"] + held[1]["pss_mib"], abs=4)


def test_a_process_that_is_gone_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as brief:
        process = psutil.Process(brief.pid)
    assert memory.held([process]) == {}


def test_the_most_is_of_each_figure() -> None:
    def one(rss_mib: float, pss_mib: float) -> memory.Held:
        return {"processes": 1, "largest_rss_mib": rss_mib, "pss_mib": pss_mib}

    found = memory.most([{"java": one(5, 2)}, {"java": one(4, 3), "worker": one(1, 1)}])

    assert found == {"java": one(5, 3), "worker": one(1, 1)}
    assert [line.split()[:2] for line in memory.table({"amulet": found}).splitlines()[1:]] == [
        ["amulet", "java"],
        ["amulet", "worker"],
    ]
