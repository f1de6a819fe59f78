"""The arithmetic of the benchmarks, against figures worked out by hand."""

from __future__ import annotations

import pytest

from benchmarks import figures, serving


def test_a_row_counts_what_calls_carried() -> None:
    row = figures.row([10.0] * 99 + [1000.0], 2.0, cpu_s=0.5, rss_mib=64.0, errors=3, per_call=8)

    assert row["rps"] == 400.0  # a hundred calls of eight in two seconds
    assert (row["p50_ms"], row["p95_ms"]) == (10.0, 10.0)
    assert row["p99_ms"] > 900
    assert row["cpu_ms_each"] == pytest.approx(0.625)
    assert (row["rss_mib"], row["errors"]) == (64.0, 3.0)


def test_throughput_and_cost_are_of_those_that_were_answered_in_time() -> None:
    row = figures.row([10.0] * 100, 2.0, answered=80, cpu_s=0.5, rss_mib=64.0)

    assert (row["rps"], row["cpu_ms_each"]) == (40.0, pytest.approx(6.25))


def test_a_single_call_is_its_own_percentiles() -> None:
    row = figures.row([7.0], 1.0, cpu_s=0.0, rss_mib=0.0)

    assert (row["p50_ms"], row["p95_ms"], row["p99_ms"]) == (7.0, 7.0, 7.0)


def test_medians_are_taken_figure_by_figure() -> None:
    rounds = [{"rps": 1.0, "p50_ms": 9.0}, {"rps": 2.0, "p50_ms": 1.0}, {"rps": 6.0, "p50_ms": 5.0}]

    assert figures.medians({"amulet": {"c1": rounds}}) == {"amulet": {"c1": {"rps": 2.0, "p50_ms": 5.0}}}


def one(rps: float, p50_ms: float) -> figures.Row:
    return {"rps": rps, "p50_ms": p50_ms}


def test_calls_under_a_key_stand_beside_the_same_without() -> None:
    def row(rps: float, cpu_ms_each: float) -> figures.Row:
        return {"rps": rps, "p50_ms": 1.0, "cpu_ms_each": cpu_ms_each}

    found = serving.ratios(
        {
            "amulet": {"c8": row(100, 10), "open_0.5": row(1, 1)},
            "amulet_keyed": {"c8": row(80, 12)},
            "amulet_redis": {"c8": row(50, 16)},
            "amulet_redis_keyed": {"c8": row(25, 20), "open_0.5": row(1, 1)},
        }
    )

    assert found == {
        "c8_amulet_keyed_to_amulet": 0.8,
        "c8_amulet_keyed_to_amulet_cpu": 1.2,
        "c8_amulet_redis_to_amulet": 0.5,
        "c8_amulet_redis_to_amulet_cpu": 1.6,
        "c8_amulet_redis_keyed_to_amulet_redis": 0.5,
        "c8_amulet_redis_keyed_to_amulet_redis_cpu": 1.25,
    }


def test_ratios_name_the_best_peer_and_leave_out_open_loops() -> None:
    found = serving.ratios(
        {
            "amulet": {"c1": one(90, 11), "open_0.7": one(50, 20)},
            "litserve": {"c1": one(100, 10), "open_0.7": one(70, 12)},
            "bentoml": {"c1": one(60, 15)},
            "limit": {"c1": one(180, 5)},
        }
    )

    assert found == {
        "c1_to_litserve": 0.9,
        "c1_to_bentoml": 1.5,
        "c1_to_limit": 0.5,
        "c1_to_best_peer": 0.9,
        "c1_p50_ms_above_best_peer": 1.0,
    }
