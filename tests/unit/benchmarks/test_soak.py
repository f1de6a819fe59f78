"""What is said of hours of calls, on looks whose growth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import soak


def looks(grows: Callable[[int], float], *, files: Callable[[int], int] = lambda _: 20) -> list[dict[str, Any]]:
    """grows: MiB of the gateway after so many calls."""
    return [
        {
            "at_s": calls / 20,
            "calls": calls,
            "programs": {"gateway": {"pss_mib": grows(calls), "files": files(calls), "threads": 9}},
        }
        for calls in range(1000, 41_000, 1000)
    ]


def test_what_every_call_leaves_behind_is_told_in_kib_a_thousand() -> None:
    grown = soak.growth(looks(lambda calls: 100 + calls * 512 / 2**20, files=lambda calls: 20 + calls // 10_000))

    assert grown == {"gateway": {"kib_per_thousand_calls": 500.0, "files": 2, "threads": 0}}


def test_what_is_loaded_at_first_and_one_look_at_a_bad_moment_are_no_growth() -> None:
    found = looks(lambda calls: 100 + min(calls, 5000) / 100)
    found[30]["programs"]["gateway"]["pss_mib"] += 80

    assert soak.growth(found)["gateway"]["kib_per_thousand_calls"] == 0.0


def test_a_program_that_came_later_is_told_from_when_it_was_there() -> None:
    found = looks(lambda _: 100.0)
    for look in found[35:]:
        look["programs"]["trainer"] = {"pss_mib": look["calls"] / 1024.0, "files": 5, "threads": 2}

    assert soak.growth(found)["trainer"] == {"kib_per_thousand_calls": 1000.0, "files": 0, "threads": 0}


def test_a_process_that_another_one_took_the_place_of_is_counted() -> None:
    pids = [
        {"worker": [3], "gateway": [4, 5]},
        {"worker": [7], "gateway": [4, 5, 6]},
        {"worker": [8], "gateway": [4, 6]},
    ]

    assert soak.ended([{"pids": each} for each in pids]) == {"worker": 2, "gateway": 1}
    assert soak.ended([{"pids": pids[0]}, {"pids": pids[0]}]) == {}
