"""How much of the machine a process may use: its cores and its memory, as the kernel's control groups have them.

A container that was given two of sixty-four cores sees sixty-four: a quota (`docker run --cpus`, systemd's `CPUQuota=`,
a limit of Kubernetes) is time and no core less. Who starts a thread for each of them spends the quota in the first
milliseconds of a period, and stands still for the rest. Read anew at each call; nothing here raises.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_MOUNTED: Final = Path("/sys/fs/cgroup")


def cores(*, membership: Path = _MEMBERSHIP, mounted: Path = _MOUNTED) -> int:
    """Cores whose time this process may use, at least 1; a part of one counts as one."""
    usable = len(os.sched_getaffinity(0))
    for group in _groups("cpu", membership, mounted):
        with suppress(OSError, ValueError):
            quota_us, period_us = _quota(group)
            if quota_us > 0 and period_us > 0:
                usable = min(usable, math.ceil(quota_us / period_us))
    return max(1, usable)


def memory_free_bytes(*, membership: Path = _MEMBERSHIP, mounted: Path = _MOUNTED) -> int | None:
    """What the group of this process still lets it take, files that it only read not counted; None: no limit."""
    free = [_free_bytes(group) for group in _groups("memory", membership, mounted)]
    return min((each for each in free if each is not None), default=None)


def memory_bytes_max(*, membership: Path = _MEMBERSHIP, mounted: Path = _MOUNTED) -> int | None:
    """What the group of this process may take in all, whoever in it has some already; None: no limit."""
    allowed = [_allowed_bytes(group) for group in _groups("memory", membership, mounted)]
    return min((each for each in allowed if each is not None), default=None)


def _groups(controller: str, membership: Path, mounted: Path) -> Iterator[Path]:
    """The group of this process and those above it, under the second version of control groups and the first."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # no Linux, or no control groups
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        roots = (mounted / controllers, mounted / controller) if controllers else (mounted, mounted / "unified")
        for root in dict.fromkeys(roots):
            group = root / path.lstrip("/")
            # In a container the path may be the machine's, which is not seen from inside: the root is then its own.
            yield from (each for each in (group, *group.parents) if each.is_relative_to(root) and each.is_dir())


def _quota(group: Path) -> tuple[int, int]:
    """Microseconds of each period's microseconds; quota -1: no limit. Raises OSError, ValueError."""
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text().split()
        return (-1 if quota == "max" else int(quota)), int(period)
    return int((group / "cpu.cfs_quota_us").read_text()), int((group / "cpu.cfs_period_us").read_text())


def _allowed_bytes(group: Path) -> int | None:
    for limit in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" is none
            return int((group / limit).read_text())
    return None


def _free_bytes(group: Path) -> int | None:
    for limit, usage, read in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):  # "max" is none
            allowed, taken = int((group / limit).read_text()), int((group / usage).read_text())
            said = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            return max(0, allowed - taken + int(said.get(read, 0)))
    return None
