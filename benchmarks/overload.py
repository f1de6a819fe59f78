"""More calls than can be answered: `amulet bench overload`.

In each round closed loops find what the server manages at best; then calls come at 0.8, 2, 5
and 10 times that rate, whatever becomes of them; and then as closed loops of more callers than
there is room for, who call again at once when they are refused. What counts: how many are still answered,
how long those take, and how soon the others are told to call again. The callers run on the same cores,
and at ten times the rate they need most of one: their share is in the profile.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks import figures
from benchmarks.figures import Row
from benchmarks.machine import busy_ratio, cpu_ticks, machine
from benchmarks.serving import WARM_S, Case, one_case, started
from benchmarks.systems import Bench

CLOSED: Final = {"c8": 8, "c16": 16}
CALM: Final = "open_0.8"
OPEN: Final[Mapping[str, float]] = {CALM: 0.8, "open_2": 2.0, "open_5": 5.0, "open_10": 10.0}
CROWDS: Final = {"c32": 32, "c64": 64}
CONNECTIONS: Final = 16
CALLS_AT_ONCE: Final = 64  # of one connection


def measure(
    run: Path, photos: Path, *, rounds: int = 5, seconds: float = 4.0, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Raises SystemFailed when the server does not start or answers nothing."""
    described, ticks = machine(), cpu_ticks()
    kept: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        bench = Bench(run.absolute(), photos.absolute(), Path(work), described["cpus"])
        with started(["amulet"], bench, tell) as servers:
            server = servers["amulet"]
            server.wake()
            for number in range(rounds):
                tell(f"round {number + 1} of {rounds}")
                peak = 0.0
                for case, connections in CLOSED.items():
                    found = one_case(server, bench, seconds, connections=connections)
                    peak = max(peak, found.row["rps"])
                    kept.setdefault(case, []).append(_row(found))
                for case, times in OPEN.items():
                    found = one_case(
                        server,
                        bench,
                        seconds,
                        connections=CONNECTIONS,
                        rate=times * peak,
                        calls_at_once=CALLS_AT_ONCE,
                    )
                    kept.setdefault(case, []).append(_row(found))
                for case, connections in CROWDS.items():
                    found = one_case(server, bench, seconds, connections=connections)
                    kept.setdefault(case, []).append(_row(found))
    medians = figures.medians({"amulet": kept})
    return {
        "machine": {**described, "busy_ratio": busy_ratio(ticks, cpu_ticks())},
        "settings": {
            "rounds": rounds,
            "seconds": seconds,
            "warm_s": WARM_S,
            "model": json.loads((run / "model.json").read_text())["version"],
        },
        "systems": medians,
        "ratios": ratios(kept),
        "rounds": {"amulet": kept},
    }


def ratios(kept: Mapping[str, list[Row]]) -> dict[str, float]:
    """Medians of what the rounds give: answered to the peak, p99 of the answered to its calm value, refusals."""
    found = {}
    peaks = [max(row["rps"] for row in rows) for rows in zip(*(kept[case] for case in CLOSED), strict=True)]
    for case in (*OPEN, *CROWDS):
        rows = kept[case]
        found[f"{case}_goodput_to_peak"] = statistics.median(
            row["rps"] / peak for row, peak in zip(rows, peaks, strict=True)
        )
        if case != CALM:
            found[f"{case}_p99_to_calm"] = statistics.median(
                row["p99_ms"] / calm["p99_ms"] for row, calm in zip(rows, kept[CALM], strict=True)
            )
            found[f"{case}_refused_p99_ms"] = statistics.median(row["refused_p99_ms"] for row in rows)
            found[f"{case}_memory_to_calm"] = statistics.median(
                row["rss_mib"] / calm["rss_mib"] for row, calm in zip(rows, kept[CALM], strict=True)
            )
    return found


def _row(case: Case) -> Row:
    refused = sorted(case.refused_ms)
    callers = case.profile["callers"]
    return {
        **case.row,
        "refused": float(len(refused)),
        "refused_p50_ms": refused[len(refused) // 2] if refused else 0.0,
        "refused_p99_ms": refused[len(refused) * 99 // 100] if refused else 0.0,
        "refused_without_hint": float(case.refused_without_hint),
        "callers_ms_each": callers["user_ms"] + callers["system_ms"],
    }
