"""From latencies to the figures that every benchmark reports."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

Row = dict[str, float]


def row(
    took_ms: Sequence[float],
    seconds: float,
    *,
    cpu_s: float,
    rss_mib: float,
    answered: int | None = None,
    errors: int = 0,
    per_call: int = 1,
) -> Row:
    """Throughput, percentiles and cost of one case in one round. per_call: how many things a call handles.

    answered: calls whose answer came within the seconds; as many as took_ms has where none was under way at either end.
    cpu_s: CPU seconds for the answered, of every process of the system.
    """
    answered = len(took_ms) if answered is None else answered
    percentiles = cuts(took_ms)
    return {
        "rps": answered * per_call / seconds,
        "p50_ms": percentiles[49],
        "p95_ms": percentiles[94],
        "p99_ms": percentiles[98],
        "cpu_s": cpu_s,
        "cpu_ms_each": cpu_s / (answered * per_call) * 1000,
        "rss_mib": rss_mib,
        "errors": float(errors),
    }


def cuts(values: Sequence[float]) -> Sequence[float]:
    """The 99 percentiles of at least one value, the first at index 0."""
    return statistics.quantiles(values, n=100) if len(values) > 1 else [values[0]] * 99


def medians(kept: Mapping[str, Mapping[str, Sequence[Row]]]) -> dict[str, dict[str, Row]]:
    """system -> case -> the median of each figure over the rounds."""
    return {
        system: {
            case: {name: statistics.median(one[name] for one in rows) for name in rows[0]}
            for case, rows in cases.items()
        }
        for system, cases in kept.items()
    }


def table(systems: Mapping[str, Mapping[str, Row]], ratios: Mapping[str, float]) -> str:
    """As a person reads it."""
    lines = [
        f"{'system':<20}{'case':<18}{'a second':>10}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"
        f"{'CPU ms':>9}{'MiB':>7}{'errors':>8}"
    ]
    for name, cases in systems.items():
        for case, one in cases.items():
            lines.append(
                f"{name:<20}{case:<18}{one['rps']:>10.1f}{one['p50_ms']:>9.1f}{one['p95_ms']:>9.1f}"
                f"{one['p99_ms']:>9.1f}{one['cpu_ms_each']:>9.2f}{one['rss_mib']:>7.0f}{one['errors']:>8.0f}"
            )
    lines += [f"{name:<46}{value:>8.2f}" for name, value in ratios.items()]
    return "\n".join(lines) + "\n"
