"""What every process of a system holds, by what it is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

import psutil

from benchmarks.spending import role_of

Held = dict[str, float]
_MIB = 2**20


def held(processes: Iterable[psutil.Process]) -> dict[str, Held]:
    """role -> how many processes, MiB resident of the largest, MiB of all with what they share counted once.

    A process that is gone holds nothing.
    """
    found: dict[str, Held] = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            memory = process.memory_full_info()
            one = found.setdefault(role_of(process.cmdline()), {"processes": 0, "largest_rss_mib": 0.0, "pss_mib": 0.0})
            one["processes"] += 1
            one["largest_rss_mib"] = max(one["largest_rss_mib"], memory.rss / _MIB)
            one["pss_mib"] += memory.pss / _MIB
    return found


def most(readings: Iterable[Mapping[str, Held]]) -> dict[str, Held]:
    """The largest of each figure, role by role."""
    found: dict[str, Held] = {}
    for reading in readings:
        for role, one in reading.items():
            kept = found.setdefault(role, dict(one))
            kept.update({figure: max(kept[figure], value) for figure, value in one.items()})
    return found


def table(systems: Mapping[str, Mapping[str, Held]]) -> str:
    """As a person reads it. systems: system -> role -> what is held."""
    lines = [f"{'system':<18}{'process':<12}{'of them':>8}{'largest, MiB':>14}{'all, MiB':>10}"]
    lines += [
        f"{system:<18}{role:<12}{one['processes']:>8.0f}{one['largest_rss_mib']:>14.0f}{one['pss_mib']:>10.0f}"
        for system, roles in systems.items()
        for role, one in sorted(roles.items(), key=lambda pair: -pair[1]["pss_mib"])
    ]
    return "\n".join(lines) + "\n"
