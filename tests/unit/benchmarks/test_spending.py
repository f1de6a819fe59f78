"""Where the time of a call goes, on processes of which it is known."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from benchmarks import overload, spending
from benchmarks.spending import Spent

BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\ninput()"


def test_what_a_process_has_burnt_is_its_own_and_its_threads() -> None:
    command = [sys.executable, "-c", BURN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as burning:
        assert burning.stdout is not None
        burning.stdout.readline()

        found = spending.spending([psutil.Process(burning.pid)])
        burning.kill()

    whole = found["server", ""]
    threads = [spent for (_, thread), spent in found.items() if thread]
    assert 250 <= whole.user_ms + whole.system_ms < 2000
    assert sum(spent.user_ms for spent in threads) == pytest.approx(whole.user_ms, abs=20)


def test_a_process_that_is_gone_costs_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as brief:
        process = psutil.Process(brief.pid)
    assert spending.spending([process]) == {}


def test_a_role_is_told_by_the_command() -> None:
    assert spending.role_of([sys.executable, "-m", "gateway"]) == "gateway"
    assert spending.role_of(["python", "-I", "-c", "from gateway.intake.decoder_process import main"]) == "decoder"
    assert spending.role_of(["python", "bentoml_app.py"]) == "server"


def test_costs_are_shared_among_the_calls_between_two_readings() -> None:
    before = {("gateway", ""): Spent(100.0, 50.0, 10)}
    after = {("gateway", ""): Spent(300.0, 70.0, 60), ("java", ""): Spent(40.0, 0.0, 0)}

    found = spending.each(before, after, calls=10)

    assert found["gateway"] == {"user_ms": 20.0, "system_ms": 2.0, "waits": 5.0}
    assert found["java"]["user_ms"] == 4.0


def test_the_table_shows_the_costliest_process_first_with_its_threads() -> None:
    small, large = ({"user_ms": cost, "system_ms": 0.0, "waits": 0.0} for cost in (1.0, 9.0))

    lines = spending.table(
        {
            "amulet": {
                "c1": {
                    "a": small,
                    "b": large,
                    "b/main python": large,
                    spending.STAGES_P50: {"decode": 3.5},
                    spending.STAGES_P99: {"decode": 91.5},
                }
            }
        }
    ).splitlines()

    assert [line.split()[0] for line in lines[1:]] == ["decode,", "b", "main", "a"]


def test_overload_is_compared_within_its_own_round() -> None:
    def row(rps: float, p99_ms: float, rss_mib: float = 100.0, refused_p99_ms: float = 0.0) -> dict[str, float]:
        return {"rps": rps, "p99_ms": p99_ms, "rss_mib": rss_mib, "refused_p99_ms": refused_p99_ms}

    kept = {"c8": [row(90, 1), row(50, 1)], "c16": [row(100, 1), row(40, 1)], "open_0.8": [row(80, 50), row(40, 100)]}
    kept |= {
        case: [row(95, 75, 110, 20), row(45, 200, 120, 30)] for case in ("open_2", "open_5", "open_10", "c32", "c64")
    }

    found = overload.ratios(kept)

    assert found["open_2_goodput_to_peak"] == pytest.approx((0.95 + 0.9) / 2)
    assert found["open_2_p99_to_calm"] == pytest.approx((1.5 + 2.0) / 2)
    assert found["c64_goodput_to_peak"] == pytest.approx((0.95 + 0.9) / 2)
    assert found["open_10_memory_to_calm"] == pytest.approx(1.15)
    assert found["open_5_refused_p99_ms"] == 25.0
