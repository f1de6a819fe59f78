"""The console's web process, as gateways and auditors meet it."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

from protos.amulet.events.v1 import events_pb2 as pb
from tests.console_events import prediction_event
from tests.integration.console.running import ROOT, RunningConsole, postgresql, until
from tests.ports import free_offset


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def console(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A web process, and the one that signs checkpoints."""
    database = postgresql() if request.param == "postgresql" else nullcontext({})
    state = tmp_path_factory.mktemp("web") / "state"
    programs = ("console", "keeper")
    with database as variables, RunningConsole.start(state, variables, offset=free_offset(), programs=programs) as web:
        yield web


def send(console: RunningConsole, events: list[pb.Event]) -> pb.EventReceipt | None:
    """Deliver a batch as a shipper does; None when it was not delivered."""
    body = gzip.compress(pb.EventBatch(events=events).SerializeToString(), compresslevel=1)
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    try:
        answer = console.internal("POST", "events", content=body, headers=headers)
    except httpx.TransportError:
        return None
    return pb.EventReceipt.FromString(answer.content) if answer.status_code == 200 else None


def test_batches_from_many_shippers_over_http_through_a_kill_leave_a_log_that_verifies(
    console: RunningConsole, tmp_path: Path
) -> None:
    events = [prediction_event() for _ in range(400)]
    batches = [events[start : start + 25] for start in range(0, 400, 25)] * 3
    random.Random(7).shuffle(batches)
    with ThreadPoolExecutor(6) as shippers:
        first = [shippers.submit(send, console, batch) for batch in batches[:24]]
        until(lambda: any(sent.done() for sent in first), within_s=60)
        console.end("console", kill=True)
        lost = [batch for batch, sent in zip(batches, first, strict=False) if sent.result() is None]
        console.begin("console")
        again = list(shippers.map(lambda batch: send(console, batch), [*lost, *batches[24:]]))
    receipts = [sent.result() for sent in first if sent.result()] + again
    assert all(receipt is not None and not receipt.rejected for receipt in receipts)
    for event in random.Random(7).sample(events, 5):
        (found,) = console.call("GET", f"predictions/?prediction_id={event.prediction.prediction_id}")["results"]
        assert found["prediction_id"] == event.prediction.prediction_id
    answer = console.ask("GET", "audit/export/", role="auditor")
    file = tmp_path / "audit.jsonl"
    file.write_bytes(answer.content)
    made = [json.loads(line) for line in answer.text.splitlines() if '"prediction.made"' in line]
    assert sorted(json.loads(entry["payload"])["about"][1] for entry in made) == sorted(
        event.prediction.prediction_id for event in events
    )
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "audit", "verify", str(file),
         "--key", str(console.layout.checkpoints / "audit_public.pem")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_checkpoint_covers_new_entries_within_a_minute(console: RunningConsole) -> None:
    send(console, [prediction_event()])
    grown = console.call("GET", "audit/entries/?page_size=1", role="auditor")["results"][0]["sequence"]

    def covered() -> bool:
        notes = "".join(path.read_text() for path in console.layout.checkpoints.glob("*.txt"))
        return any(line.isdecimal() and int(line) >= grown for line in notes.splitlines())

    until(covered, within_s=60, what=lambda: console.log("keeper"))
