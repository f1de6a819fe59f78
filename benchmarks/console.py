"""How fast the console takes events and answers staff: `amulet bench console`.

A console of its own on SQLite, in a real process behind real HTTP. Events as gateways send
them, in compressed batches; then the pages and jobs that grow with what is stored.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks import figures
from benchmarks.figures import Row
from benchmarks.ingest import BATCH_EVENTS, packed_batch
from benchmarks.machine import busy_ratio, cpu_ticks, machine
from benchmarks.systems import ROOT, Bench, Server, free_offset
from cli import supervision
from cli.layout import Layout, Ports
from cli.provision import provision

_ANSWER_S_MAX: Final = 60.0


class Console(Server):
    """One console process and its database, in the bench's folder."""

    def _start(self) -> None:
        layout = Layout(self.bench.work / "state", Ports(free_offset()))
        provision(layout)
        environment = supervision.environment(layout, os.environ)
        for arguments in (("migrate", "--noinput", "--verbosity", "0"), ("collectstatic", "--noinput", "-v", "0")):
            _manage(environment, *arguments)
        self.token = json.loads(_manage(environment, "create_staff", "bench", "--role", "administrator", "--json"))
        self.control_token = (layout.secrets / "control_token").read_text()
        out = self.spawn([sys.executable, "-m", "console.serve"], environment, cwd=ROOT)
        self.url = layout.console_url
        self.until_answers(f"{self.url}/healthz", out)


def measure(*, rounds: int = 5, seconds: float = 3.0, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Raises SystemFailed when the console does not start."""
    described, ticks = machine(), cpu_ticks()
    kept: dict[str, list[Row]] = {}
    events = 0
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        console = Console("console", Bench(Path(work), Path(work), Path(work), described["cpus"]))
        try:
            tell("starting the console")
            console.begin()
            staff = {"Authorization": f"Token {console.token['token']}"}
            control = {"Authorization": f"Bearer {console.control_token}"}
            with httpx.Client(base_url=console.url, timeout=_ANSWER_S_MAX, trust_env=False) as client:
                for number in range(rounds):
                    tell(f"round {number + 1} of {rounds}")
                    found = {
                        f"ingest_{BATCH_EVENTS}": _timed(
                            console, lambda: _send(client, control), seconds, BATCH_EVENTS
                        ),
                        "predictions_api": _timed(
                            console, lambda: client.get("/api/v1/predictions/", headers=staff), seconds
                        ),
                        "audit_api": _timed(
                            console, lambda: client.get("/api/v1/audit/entries/", headers=staff), seconds
                        ),
                        "policy": _timed(console, lambda: client.get("/internal/policy", headers=control), seconds),
                    }
                    events += round(found[f"ingest_{BATCH_EVENTS}"]["rps"] * seconds)
                    for case, one in found.items():
                        kept.setdefault(case, []).append(one)
        finally:
            console.end()
    return {
        "machine": {**described, "busy_ratio": busy_ratio(ticks, cpu_ticks())},
        "settings": {"rounds": rounds, "seconds": seconds, "database": "sqlite", "events_stored_at_the_end": events},
        "systems": figures.medians({"console": kept}),
        # Cost must not grow with history: the last round against the first.
        "ratios": {f"{case}_last_to_first": rows[-1]["rps"] / rows[0]["rps"] for case, rows in kept.items()},
        "rounds": {"console": kept},
    }


def _send(client: httpx.Client, headers: dict[str, str]) -> httpx.Response:
    return client.post(
        "/internal/events",
        content=packed_batch(),
        headers={**headers, "Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"},
    )


def _timed(console: Server, ask: Callable[[], httpx.Response], seconds: float, per_call: int = 1) -> Row:
    """Only the console's own CPU time counts; the caller's share is in the latency."""
    ask()
    took_ms, errors, cpu_s, began_s = [], 0, console.cpu_s(), time.perf_counter()
    while (now_s := time.perf_counter()) < began_s + seconds:
        errors += ask().is_error
        took_ms.append((time.perf_counter() - now_s) * 1000)
    elapsed_s = time.perf_counter() - began_s
    return figures.row(
        took_ms, elapsed_s, cpu_s=console.cpu_s() - cpu_s, rss_mib=console.rss_mib(), errors=errors, per_call=per_call
    )


def _manage(environment: dict[str, str], *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "console.manage", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
