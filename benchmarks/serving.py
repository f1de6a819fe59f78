"""The whole path against the bare peers: `amulet bench serving`, `make bench`.

Interleaved rounds on one machine: in each round every system answers the same photographs in
every case. Closed loops with 1, 8 and 16 connections; open loops from a half to all of what the
system managed with 16 in that very round. Medians over the rounds, every round kept. Beside each
case stands where a call's time went: CPU milliseconds by process and thread, the callers' included,
and for Amulet the stages as its answers tell them; beside each system what its processes held at most.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import figures, memory, spending
from benchmarks.amulet_system import Amulet
from benchmarks.figures import Row
from benchmarks.machine import busy_ratio, cpu_ticks, machine
from benchmarks.systems import (
    PEERS,
    PEERS_PYTHON,
    ROOT,
    Bench,
    BentoML,
    Contender,
    LitServe,
    SystemFailed,
    TorchServeStock,
)

CLOSED: Final = {"c1": 1, "c8": 8, "c16": 16}
OPEN_RATIOS: Final = (0.5, 0.7, 0.9, 1.0)
OPEN_CONNECTIONS: Final = 16
STOCK_CASES: Final = ("c1", "c8")  # it is an order of magnitude slower: more would only take time
WARM_S: Final = 1.5
PEER_NAMES: Final = ("litserve", "bentoml")
SYSTEMS: Final[Mapping[str, Callable[[Bench], Contender]]] = {
    "amulet": lambda bench: Amulet("amulet", bench),
    "litserve": lambda bench: LitServe("litserve", bench),
    "bentoml": lambda bench: BentoML("bentoml", bench),
    "torchserve_stock": lambda bench: TorchServeStock("torchserve_stock", bench),
    "amulet_sent": lambda bench: Amulet("amulet_sent", bench, settings={"AMULET_PIXELS_DIR": ""}),
    "amulet_keyed": lambda bench: Amulet("amulet_keyed", bench, keyed=True),
    "amulet_redis": lambda bench: Amulet("amulet_redis", bench, redis=True),
    "amulet_redis_keyed": lambda bench: Amulet("amulet_redis_keyed", bench, redis=True, keyed=True),
}
# What a call under an idempotency key costs: each beside the same without it. A Redis counts calls, too.
KEYED: Final = {"amulet_keyed": "amulet", "amulet_redis": "amulet", "amulet_redis_keyed": "amulet_redis"}
ON_REQUEST: Final = ("amulet_sent", *KEYED)  # the first as if TorchServe ran on another machine
NAMES: Final = (*(name for name in SYSTEMS if name not in ON_REQUEST), "limit")

Profile = dict[str, dict[str, float]]  # role, role/thread or stage -> figures of one call


@dataclass(frozen=True, slots=True)
class Case:
    """One system in one case of one round."""

    row: Row
    profile: Profile = field(default_factory=dict)
    refused_ms: tuple[float, ...] = ()
    refused_without_hint: int = 0
    held: Mapping[str, memory.Held] = field(default_factory=dict)


def measure(
    run: Path,
    photos: Path,
    *,
    names: Sequence[str] = NAMES,
    rounds: int = 5,
    seconds: float = 4.0,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Raises SystemFailed when a server does not start or answers nothing."""
    if set(names) & set(PEER_NAMES) and not PEERS_PYTHON.exists():
        raise SystemFailed("the peers are not installed: run `make peers`, or name other --systems")
    kept: dict[str, dict[str, list[Case]]] = {name: {} for name in names}
    described = machine()
    ticks = cpu_ticks()
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        bench = Bench(run.absolute(), photos.absolute(), Path(work), described["cpus"])
        with started([name for name in names if name in SYSTEMS], bench, tell) as servers:
            for number in range(rounds):
                for name in names:
                    tell(f"round {number + 1} of {rounds}: {name}")
                    found = _limit(bench, seconds) if name == "limit" else _one_system(servers[name], bench, seconds)
                    for case, one in found.items():
                        kept[name].setdefault(case, []).append(one)
            cold_start_s = {name: server.cold_start_s for name, server in servers.items()}
    rows = {name: {case: [one.row for one in every] for case, every in cases.items()} for name, cases in kept.items()}
    medians = figures.medians(rows)
    card = json.loads((run / "model.json").read_text())
    return {
        "machine": {**described, "busy_ratio": busy_ratio(ticks, cpu_ticks())},
        "settings": {
            "rounds": rounds,
            "seconds": seconds,
            "warm_s": WARM_S,
            "photos": len(list(photos.glob("*.jpg"))),
            "model": card["version"],
            "form": card["graph"].get("choice", {}).get("why", card["graph"]["form"]),
            "peer_workers": described["cpus"],
        },
        "systems": medians,
        "ratios": ratios(medians),
        "cold_start_s": cold_start_s,
        "profile": {
            name: {case: _median_profile([one.profile for one in every]) for case, every in cases.items()}
            for name, cases in kept.items()
            if name in SYSTEMS
        },
        "memory": {
            name: memory.most(one.held for every in cases.values() for one in every)
            for name, cases in kept.items()
            if name in SYSTEMS
        },
        "rounds": rows,
    }


def _median_profile(profiles: Sequence[Profile]) -> Profile:
    """Figure by figure over the rounds in which a process or thread was there."""
    names = {name for profile in profiles for name in profile}
    return {
        name: {
            figure: statistics.median(profile[name][figure] for profile in profiles if name in profile)
            for figure in next(profile[name] for profile in profiles if name in profile)
        }
        for name in sorted(names)
    }


def ratios(medians: Mapping[str, Mapping[str, Row]]) -> dict[str, float]:
    """Ours divided by theirs: throughput per case; at one connection also p50's milliseconds above the best peer's.

    Of calls under a key also what a call costs the processors.
    """
    found = {}
    ours = medians.get("amulet", {})
    for case, row in ours.items():
        best = max((medians[name][case]["rps"] for name in PEER_NAMES if case in medians.get(name, {})), default=0.0)
        for name in (*PEER_NAMES, "torchserve_stock", "limit"):
            other = medians.get(name, {}).get(case)
            if other and other["rps"] and case in CLOSED:
                found[f"{case}_to_{name}"] = row["rps"] / other["rps"]
        if best and case in CLOSED:
            found[f"{case}_to_best_peer"] = row["rps"] / best
    peers = [medians[name]["c1"]["p50_ms"] for name in PEER_NAMES if "c1" in medians.get(name, {})]
    if "c1" in ours and peers:
        found["c1_p50_ms_above_best_peer"] = ours["c1"]["p50_ms"] - min(peers)
    for name, without in KEYED.items():
        for case in CLOSED:
            if case in medians.get(name, {}) and case in medians.get(without, {}):
                with_it, beside = medians[name][case], medians[without][case]
                found[f"{case}_{name}_to_{without}"] = with_it["rps"] / beside["rps"]
                found[f"{case}_{name}_to_{without}_cpu"] = with_it["cpu_ms_each"] / beside["cpu_ms_each"]
    return found


@contextmanager
def started(names: Sequence[str], bench: Bench, tell: Callable[[str], None]) -> Iterator[dict[str, Contender]]:
    servers: dict[str, Contender] = {}
    try:
        for name in names:
            tell(f"starting {name}")
            servers[name] = SYSTEMS[name](bench)
            servers[name].begin()
            servers[name].sleep()
        yield servers
    finally:
        for server in servers.values():
            server.end()


def _one_system(server: Contender, bench: Bench, seconds: float) -> dict[str, Case]:
    found: dict[str, Case] = {}
    server.wake()
    try:
        for case, connections in CLOSED.items():
            if server.name != "torchserve_stock" or case in STOCK_CASES:
                found[case] = one_case(server, bench, seconds, connections=connections)
        if "c16" in found:
            for share in OPEN_RATIOS:
                rate = share * found["c16"].row["rps"]
                found[f"open_{share}"] = one_case(server, bench, seconds, connections=OPEN_CONNECTIONS, rate=rate)
    finally:
        server.sleep()
    return found


def one_case(
    server: Contender,
    bench: Bench,
    seconds: float,
    *,
    connections: int,
    rate: float = 0.0,
    calls_at_once: int = 1,
) -> Case:
    """Have the server asked for some seconds. Raises SystemFailed when it answers nothing."""
    wish = {
        **server.wish(),
        "photos": str(bench.photos),
        "connections": connections,
        "seconds": seconds,
        "warm_s": WARM_S,
        "rate": rate,
        "calls_at_once": calls_at_once,
    }
    before, cpu_s = spending.spending(server.family()), server.cpu_s()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.calling", json.dumps(wish)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemFailed(f"the callers of {server.name} failed: {done.stderr[-1000:]}")
    said = json.loads(done.stdout)
    if not said["answered"]:
        raise SystemFailed(f"{server.name} answered nothing: {said['first_error']}")
    calls = said["answers"]
    row = figures.row(
        said["latencies_ms"],
        seconds,
        answered=said["answered"],
        # The processes were watched through the warm-up and the last answers, too.
        cpu_s=(server.cpu_s() - cpu_s) * said["answered"] / calls,
        rss_mib=server.rss_mib(),
        errors=said["errors"],
    )
    profile = spending.each(before, spending.spending(server.family()), calls=calls)
    profile["callers"] = {
        "user_ms": said["cpu_s"]["user"] * 1000 / calls,
        "system_ms": said["cpu_s"]["system"] * 1000 / calls,
        "waits": said["waits"] / calls,
    }
    if said["stages_ms"]:
        cuts = {stage: figures.cuts(took_ms) for stage, took_ms in said["stages_ms"].items()}
        profile[spending.STAGES_P50] = {stage: one[49] for stage, one in cuts.items()}
        profile[spending.STAGES_P99] = {stage: one[98] for stage, one in cuts.items()}
    held = memory.held(server.family())
    return Case(row, profile, tuple(said["refused_ms"]), said["refused_without_hint"], held)


def _limit(bench: Bench, seconds: float) -> dict[str, Case]:
    """No server: one process, and as many as there are cores."""
    return {
        "c1": _processes(bench, seconds, 1),
        **{case: _processes(bench, seconds, bench.workers) for case in ("c8", "c16")},
    }


def _processes(bench: Bench, seconds: float, count: int) -> Case:
    command = [sys.executable, str(PEERS / "limit.py"), str(bench.photos), str(seconds), str(WARM_S)]
    running = [
        subprocess.Popen(
            command,
            env={"BENCH_GRAPH": str(bench.run / "model.onnx"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
        )
        for _ in range(count)
    ]
    said = [json.loads(process.communicate()[0]) for process in running]
    took_ms = [each for one in said for each in one["latencies_ms"]]
    row = figures.row(
        took_ms,
        seconds,
        answered=sum(one["answered"] for one in said),
        cpu_s=sum(one["cpu_s"] * one["answered"] / one["answers"] for one in said),
        rss_mib=sum(one["rss_mib"] for one in said),
    )
    return Case(row)
