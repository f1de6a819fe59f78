"""Where a request's time goes: CPU milliseconds of every process and thread of a server, read from the kernel.

The kernel counts in ticks of ten milliseconds, which is fine over the seconds of a case and
nothing for a single call. A thread that ended in between is in its process's figure only.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

# Beside the processes: what the server itself says, by the clock. A disk that stalls shows in the second alone.
STAGES_P50: Final = "stages_p50_ms"
STAGES_P99: Final = "stages_p99_ms"
_TICK_MS: Final = 1000.0 / os.sysconf("SC_CLK_TCK")
# What a process is for, by a word of its command line; the first that fits.
_ROLES: Final = (
    ("gateway.intake.decoder_process", "decoder"),
    ("model_service_worker", "worker"),
    ("org.pytorch.serve.ModelServer", "java"),
    ("redis-server", "redis"),
    ("gateway", "gateway"),
    ("resource_tracker", "tracker"),
)
_THREADS_TOLD: Final = 6  # of one process
_TOLD_MS_MIN: Final = 0.02  # a call


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU time in milliseconds, and how often the process gave its core away by itself."""

    user_ms: float = 0.0
    system_ms: float = 0.0
    waits: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.user_ms + other.user_ms, self.system_ms + other.system_ms, self.waits + other.waits)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.user_ms - other.user_ms, self.system_ms - other.system_ms, self.waits - other.waits)


Spending = Mapping[tuple[str, str], Spent]  # (role, thread or "" for the whole process) -> since its start


def spending(processes: Iterable[psutil.Process]) -> Spending:
    """What each process has spent so far, processes of one role together."""
    found: defaultdict[tuple[str, str], Spent] = defaultdict(Spent)
    for process in processes:
        with suppress(psutil.NoSuchProcess, OSError):
            role = role_of(process.cmdline())
            folder = Path("/proc", str(process.pid))
            waits = 0
            for task in (folder / "task").iterdir():
                with suppress(OSError):
                    spent = Spent(*_ticks_ms(task / "stat"), _waits(task / "status"))
                    main = "main " if task.name == str(process.pid) else ""
                    found[role, main + (task / "comm").read_text().strip()] += spent
                    waits += spent.waits
            found[role, ""] += Spent(*_ticks_ms(folder / "stat"), waits)
    return dict(found)


def role_of(command: Iterable[str]) -> str:
    line = " ".join(command)
    return next((role for word, role in _ROLES if word in line), "server")


def each(before: Spending, after: Spending, *, calls: int) -> dict[str, dict[str, float]]:
    """role, or role/thread -> milliseconds and waits for one call."""
    found = {}
    for (role, thread), last in after.items():
        spent = last - before.get((role, thread), Spent())
        found[f"{role}/{thread}" if thread else role] = {
            "user_ms": spent.user_ms / calls,
            "system_ms": spent.system_ms / calls,
            "waits": spent.waits / calls,
        }
    return found


def table(profile: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> str:
    """As a person reads it. profile: system -> case -> role or role/thread -> figures of one call."""
    lines = []
    for system, cases in profile.items():
        for case, rows in cases.items():
            lines.append(f"{f'{system} {case}, a call':<44}{'user ms':>9}{'system ms':>11}{'waits':>8}")
            for stage, took_ms in rows.get(STAGES_P50, {}).items():
                worst_ms = rows[STAGES_P99][stage]
                lines.append(f"  {f'{stage}, p50 and p99 ms by the clock':<42}{took_ms:>9.2f}{worst_ms:>11.2f}")
            for name in _in_order({name: rows[name] for name in rows if name not in (STAGES_P50, STAGES_P99)}):
                one = rows[name]
                role, _, thread = name.partition("/")
                shown = f"    {thread}" if thread else f"  {role}"
                lines.append(f"{shown:<44}{one['user_ms']:>9.2f}{one['system_ms']:>11.2f}{one['waits']:>8.1f}")
    return "\n".join(lines) + "\n"


def _in_order(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Each process, the costliest first, followed by its costliest threads."""

    def cost(name: str) -> float:
        return rows[name]["user_ms"] + rows[name]["system_ms"]

    names = []
    for role in sorted((name for name in rows if "/" not in name), key=cost, reverse=True):
        threads = [name for name in rows if name.startswith(f"{role}/") and cost(name) >= _TOLD_MS_MIN]
        names += [role, *sorted(threads, key=cost, reverse=True)[:_THREADS_TOLD]]
    return names


def _ticks_ms(stat: Path) -> tuple[float, float]:
    """(user, system) of proc(5)'s stat, whose second field may hold blanks and brackets."""
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) * _TICK_MS, int(fields[12]) * _TICK_MS


def _waits(status: Path) -> int:
    lines = dict(line.partition(":\t")[::2] for line in status.read_text().splitlines())
    return int(lines.get("voluntary_ctxt_switches", 0))
