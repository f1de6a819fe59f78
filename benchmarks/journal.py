"""How many events a second become durable, against what this disk allows at all.

    amulet bench journal [--json FILE] [--folder DIR] [--rounds N]

Each case has a number of callers that append one 1 KB event after another through the
journal's own `append`. The limit is measured in the same round, on the same disk, with the
same group size: a bare loop of write and fdatasync, without frames, checksums, threads or
an event loop. A ratio of 1 would mean that the journal costs nothing but the disk.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.machine import busy_ratio, cpu_ticks, machine
from gateway.journal.format import FRAME_HEADER_BYTES
from gateway.journal.journal import Journal
from gateway.journal.segment import Frame, read_segment
from gateway.journal.writer import JournalSettings

EVENT_BYTES: Final = 1024
CALLERS: Final = (1, 8, 64, 512)
RECORDS_PER_CALLER_MIN: Final = 30
RECORDS_MIN: Final = 2_000


@dataclass(frozen=True, slots=True)
class Measured:
    rps: float  # durable events a second
    p50_ms: float  # of one append, from call to durable
    p95_ms: float
    p99_ms: float
    cpu_s: float
    rss_mib: float  # of the whole process, at its largest so far
    group_records: float  # mean size of a group
    errors: int = 0


def measure(folder: Path | None, *, rounds: int) -> dict[str, Any]:
    """Every case in every round, journal and limit in turn; medians, and each round beside them."""
    described, ticks = machine(), cpu_ticks()
    kept: dict[str, dict[str, list[Measured]]] = {"journal": {}, "limit": {}}
    for _ in range(rounds):
        for callers in CALLERS:
            case = f"c{callers}"
            with tempfile.TemporaryDirectory(dir=folder) as work:
                found = uvloop.run(_through_the_journal(Path(work), callers))
                kept["journal"].setdefault(case, []).append(found)
                kept["limit"].setdefault(case, []).append(_bare_loop(Path(work), max(1, round(found.group_records))))
    medians = {
        system: {case: {name: statistics.median(asdict(each)[name] for each in all_) for name in asdict(all_[0])}
                 for case, all_ in cases.items()}
        for system, cases in kept.items()
    }  # fmt: skip
    return {
        "machine": {**described, "kernel": platform.release(), "busy_ratio": busy_ratio(ticks, cpu_ticks())},
        "settings": {"event_bytes": EVENT_BYTES, "rounds": rounds},
        "systems": medians,
        "ratios": {case: medians["journal"][case]["rps"] / medians["limit"][case]["rps"] for case in medians["limit"]},
        "rounds": {
            system: {case: [asdict(each) for each in all_] for case, all_ in cases.items()}
            for system, cases in kept.items()
        },
    }


def table(document: dict[str, Any]) -> str:
    """The result as a person reads it."""
    lines = ["callers   journal/s     limit/s   ratio   group   p50 ms   p99 ms"]
    for case, found in document["systems"]["journal"].items():
        limit, ratio = document["systems"]["limit"][case]["rps"], document["ratios"][case]
        lines.append(
            f"{case[1:]:>7} {found['rps']:>11,.0f} {limit:>11,.0f} {ratio:>7.2f} {found['group_records']:>7.1f} "
            f"{found['p50_ms']:>8.2f} {found['p99_ms']:>8.2f}"
        )
    return "\n".join(lines) + "\n"


async def _through_the_journal(folder: Path, callers: int) -> Measured:
    journal = await Journal.open(JournalSettings(folder / "journal", free_bytes_min=0))
    event = os.urandom(EVENT_BYTES)
    took_s: list[float] = []

    async def call(count: int) -> None:
        for _ in range(count):
            began_s = time.perf_counter()
            await journal.append(event)
            took_s.append(time.perf_counter() - began_s)

    each = max(RECORDS_PER_CALLER_MIN, RECORDS_MIN // callers)
    cpu_s, began_s = _cpu_s(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call(each))
    seconds, cpu_s = time.perf_counter() - began_s, _cpu_s() - cpu_s
    groups = sum(
        isinstance(piece, Frame) and piece.place == 0
        for stored in journal.segments()
        for piece in read_segment(stored.path, expected=stored.first_sequence)
    )
    await journal.close()
    return _measured(took_s, seconds, cpu_s, group_records=len(took_s) / groups)


def _bare_loop(folder: Path, group_records: int) -> Measured:
    content = os.urandom((EVENT_BYTES + FRAME_HEADER_BYTES) * group_records)
    groups = max(50, RECORDS_MIN // group_records)
    took_s = []
    descriptor = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    cpu_s, began_s = _cpu_s(), time.perf_counter()
    for _ in range(groups):
        group_began_s = time.perf_counter()
        os.write(descriptor, content)
        os.fdatasync(descriptor)
        took_s.append(time.perf_counter() - group_began_s)
    seconds, cpu_s = time.perf_counter() - began_s, _cpu_s() - cpu_s
    os.close(descriptor)
    found = _measured(took_s, seconds, cpu_s, group_records=float(group_records))
    return Measured(**{**asdict(found), "rps": groups * group_records / seconds})


def _measured(took_s: list[float], seconds: float, cpu_s: float, *, group_records: float) -> Measured:
    cuts = [cut * 1000 for cut in statistics.quantiles(took_s, n=100)]
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(len(took_s) / seconds, cuts[49], cuts[94], cuts[98], cpu_s, rss_mib, group_records)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
