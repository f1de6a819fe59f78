"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """The processor, its cores that this process may use, and what else ran: the load of the last minute."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_1min_before": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def busy_ratio(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Share of all cores' time that was worked in, between two readings of `cpu_ticks`."""
    worked, whole = after[0] - before[0], after[1] - before[1]
    return worked / whole if whole else 0.0


def cpu_ticks() -> tuple[int, int]:
    """(worked, whole) ticks of all cores since the machine started."""
    fields = [int(part) for part in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)
