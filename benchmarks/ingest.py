"""How many events a console takes in a second, from as many gateways as a stack has: real HTTP, a real process.

Batches are as a gateway's shipper writes them, packed before the clock runs: what a gateway
spends on that is spent there. Each gateway sends its next batch when the last one was acknowledged.
"""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx
import psutil

from benchmarks.systems import HOST, ROOT, START_S_MAX, SystemFailed
from protos.amulet.events.v1 import events_pb2
from tests.console_events import prediction_event

GATEWAYS: Final = 2
BATCH_EVENTS: Final = 500
_ANSWER_S_MAX: Final = 60.0
_WARM_BATCHES: Final = 2


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a console took, and what that cost the whole machine."""

    events: int
    took_s: float
    console_cpu_s: float
    database_cpu_s: float  # of every process of the database's owner

    def row(self) -> dict[str, float]:
        return {
            "per_s": self.events / self.took_s,
            "own_cpu_us_each": self.console_cpu_s * 1e6 / self.events,
            "database_cpu_us_each": self.database_cpu_s * 1e6 / self.events,
        }


def packed_batch() -> bytes:
    """Fresh events, as a shipper packs them."""
    batch = events_pb2.EventBatch(events=[prediction_event() for _ in range(BATCH_EVENTS)])
    return gzip.compress(batch.SerializeToString(), compresslevel=1)


@contextmanager
def serving(processes: int) -> Iterator[tuple[str, psutil.Process]]:
    """A console's web processes with the settings of this one. Raises SystemFailed when they do not start."""
    from django.conf import settings
    from django.db import connection

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        address = f"{HOST}:{probe.getsockname()[1]}"
    database = connection.settings_dict
    server = os.environ["AMULET_DATABASE_URL"].rsplit("/", 1)[0]
    environment = {
        **os.environ,
        "AMULET_STATE_DIR": str(settings.AMULET.state_dir),
        "AMULET_DATABASE_URL": f"{server}/{database['NAME']}",
        "AMULET_CONSOLE_LISTEN": address,
        "AMULET_CONSOLE_PROCESSES": str(processes),
        "AMULET_LOG_LEVEL": "ERROR",
    }
    process = subprocess.Popen([sys.executable, "-m", "console.serve"], cwd=ROOT, env=environment)
    try:
        _until_answers(f"http://{address}/healthz", process)
        yield f"http://{address}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=START_S_MAX)


def ingest(seconds: float, *, processes: int = 1, gateways: int = GATEWAYS) -> Ingested:
    """What a console on the database in use takes. Raises RuntimeError when it refuses a batch."""
    from django.conf import settings

    headers = {
        "Authorization": f"Bearer {settings.AMULET.control_token_file.read_text()}",
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "gzip",
    }
    with serving(processes) as (url, console):
        with httpx.Client(base_url=url, timeout=_ANSWER_S_MAX, trust_env=False) as client:
            began_s = time.perf_counter()
            for _ in range(_WARM_BATCHES):
                _send(client, headers, packed_batch())
            expected_s = (time.perf_counter() - began_s) / _WARM_BATCHES
        # As many as are sent in that time: making them while the clock runs would be a load that no console has.
        each = max(3, round(seconds / expected_s))
        senders = [[packed_batch() for _ in range(each)] for _ in range(gateways)]
        console_s, database_s, began_s = _cpu_s(console), _database_cpu_s(), time.perf_counter()
        with ThreadPoolExecutor(gateways) as pool:
            list(pool.map(partial(_send_all, url, headers), senders))
        took_s = time.perf_counter() - began_s
        return Ingested(
            events=each * gateways * BATCH_EVENTS,
            took_s=took_s,
            console_cpu_s=_cpu_s(console) - console_s,
            database_cpu_s=_database_cpu_s() - database_s,
        )


def _send_all(url: str, headers: dict[str, str], batches: Sequence[bytes]) -> None:
    with httpx.Client(base_url=url, timeout=_ANSWER_S_MAX, trust_env=False) as client:
        for batch in batches:
            _send(client, headers, batch)


def _send(client: httpx.Client, headers: dict[str, str], batch: bytes) -> None:
    answer = client.post("/internal/events", content=batch, headers=headers)
    receipt = events_pb2.EventReceipt.FromString(answer.content) if answer.status_code == 200 else None
    if receipt is None or receipt.applied != BATCH_EVENTS:
        raise RuntimeError(f"ingest answered {answer.status_code}: {answer.content[:200]!r}")


def _cpu_s(parent: psutil.Process) -> float:
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _database_cpu_s() -> float:
    """CPU time of the server's processes, which is on this machine; those that ended meanwhile are not counted."""
    times = [process.info["cpu_times"] for process in psutil.process_iter(["name", "cpu_times"])
             if process.info["name"] == "postgres" and process.info["cpu_times"]]  # fmt: skip
    return float(sum(each.user + each.system for each in times))


def _until_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    ends_s = time.monotonic() + START_S_MAX
    while True:
        try:
            if httpx.get(url, timeout=_ANSWER_S_MAX, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > ends_s:
            raise SystemFailed("the console did not start")
        time.sleep(0.1)
