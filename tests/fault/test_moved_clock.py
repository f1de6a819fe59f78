"""The wall clock an hour and a day forward and back, under real processes that go on meanwhile.

What lasts for a while lasts that long by a clock that nobody sets, and what lasts until a day does until that day. So
no answer is lost or refused, nothing is over early, and nothing stands still until the clock is where it was.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from gateway.admission.limits import WINDOW_S
from model_store import signing
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from tests import tiny_archive
from tests.collector import Collector, collecting
from tests.fault.load import PATIENCE_S, Load, answering
from tests.fault.moved_clock import MovedClock
from tests.fault.processes import readiness
from tests.fault.results import keep
from tests.fault.truth import backlog, check_every_answer_is_audited_once, signed_entries
from tests.stack import Stack, until

pytestmark = pytest.mark.fault

HOUR_S, DAY_S = 3600, 86_400
# From each to the next: an hour on, nearly a day on, a day back, a day back again, an hour short of a day on, home.
AHEAD_S = (HOUR_S, DAY_S, 0, -DAY_S, -HOUR_S, 0)
SETTLE_S = 60.0
LONG = "FAULT_LONG" in os.environ  # whether it is looked each time for what is done but now and then

# Sends a task ten times a second to nobody, and says so, and each time that it has looked.
BEAT = """
import sys, time
from celery import Celery
from kombu.utils.imports import symbol_by_name

class Sending(symbol_by_name(sys.argv[1])):
    def apply_async(self, entry, producer=None, advance=True, **named):
        print("sent", flush=True)

app = Celery()
app.conf.beat_schedule = {"often": {"task": "nothing", "schedule": 0.1}}
clock = Sending(app, schedule_filename=sys.argv[2])
while True:
    clock.tick()
    print("looked", flush=True)
    time.sleep(0.02)
"""


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    folder = tmp_path / "clock"
    folder.mkdir()
    return MovedClock.make(folder)


@pytest.fixture
def beat(clock: MovedClock, tmp_path: Path) -> Iterator[Callable[[str], Iterator[str]]]:
    running = []

    def start(scheduler: str) -> Iterator[str]:
        command = [clock.python, "-c", BEAT, scheduler, str(tmp_path / "schedule")]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout is not None
        return map(str.strip, running[-1].stdout)

    yield start
    for process in running:
        process.kill()
        process.communicate()


def sent_in(lines: Iterator[str], looks: int) -> int:
    """How often something was sent while it was looked so often."""
    sent = 0
    while looks:
        line = next(lines)
        sent, looks = sent + (line == "sent"), looks - (line == "looked")
    return sent


@pytest.mark.parametrize("ahead_s", [DAY_S, -DAY_S])
def test_what_is_sent_by_the_clock_goes_on_when_that_is_set(
    clock: MovedClock, beat: Callable[[str], Iterator[str]], ahead_s: int
) -> None:
    lines = beat("console.beat:Scheduler")
    assert sent_in(lines, 20) >= 2
    clock.move(ahead_s)
    assert sent_in(lines, 20) >= 2


def test_celerys_own_clock_stands_still_when_the_clock_is_set_back(
    clock: MovedClock, beat: Callable[[str], Iterator[str]]
) -> None:
    """The negative control: else a library that moves nothing would pass for a clock that was moved."""
    lines = beat("celery.beat:PersistentScheduler")
    assert sent_in(lines, 20) >= 2
    clock.move(-DAY_S)
    sent_in(lines, 5)
    assert sent_in(lines, 40) == 0


def test_a_schedule_from_times_to_come_is_kept_from_now_on(
    clock: MovedClock, beat: Callable[[str], Iterator[str]]
) -> None:
    clock.move(DAY_S)
    assert sent_in(beat("celery.beat:PersistentScheduler"), 20) >= 2
    clock.move(0)
    assert sent_in(beat("console.beat:Scheduler"), 20) >= 2


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    with collecting() as (collector, endpoint):
        yield collector, endpoint


@pytest.fixture
def stack(clock: MovedClock, collector: tuple[Collector, str], tmp_path: Path) -> Iterator[Stack]:
    """Every process under the clock but TorchServe's Java."""
    signing.generate_key(tmp_path / "release.key")
    archive = tmp_path / "tiny.mar"
    tiny_archive.write_archive(tmp_path / "run", archive, key=tmp_path / "release.key")
    variables = {"AMULET_OTLP_ENDPOINT": collector[1], "AMULET_TRACES_RATIO": "1"}
    running = Stack.start(tmp_path / "state", variables=variables, python=clock.python)
    try:
        running.trust(tmp_path / "release.key.pub")
        running.serve(archive)
        running.key = running.new_key("tests")
        yield running
    finally:
        clock.move(0)
        running.stop()


@pytest.mark.stack
def test_a_clock_that_is_set_costs_no_answer_and_holds_nothing_up(
    stack: Stack, clock: MovedClock, collector: tuple[Collector, str], tmp_path: Path
) -> None:
    under_a_key = {"request_id": "a", "idempotency_key": "the-same-each-time"}
    photo = tiny_archive.photo_of("red", seed=1)
    first = stack.predict(photo, **under_a_key).prediction_id
    few = stack.new_key("five a minute", calls_per_minute=5)
    until_noon_or_so = _key_that_ends(stack, timedelta(seconds=DAY_S / 2))
    until(lambda: _is_accepted(stack, until_noon_or_so))
    began_s = time.monotonic()
    assert _admitted(stack, few, photo, calls=6) == 5
    clock_of_machine = answering(stack)
    with Load(stack, timeout_s=PATIENCE_S) as load:
        assert load.wait_for(lambda outcome: outcome.ok, count=10, within_s=SETTLE_S)
        for ahead_s in AHEAD_S:
            clock.move(ahead_s)
            assert load.wait_for(lambda outcome: outcome.ok, count=10, within_s=SETTLE_S)
            answer = stack.predict(photo)
            assert min(map(_seconds, _durations(answer))) >= 0
            assert _is_near(answer.answered_at.ToDatetime(UTC).timestamp(), ahead_s)
            assert stack.predict(photo, **under_a_key).prediction_id == first
            let_in = _admitted(stack, few, photo, calls=6)
            assert let_in == 0 or time.monotonic() - began_s > WINDOW_S
            assert _is_accepted(stack, until_noon_or_so) == (ahead_s < DAY_S / 2)
            assert readiness(stack)["ready"]
            if ahead_s and not LONG:
                continue
            signed = signed_entries(stack)
            until(lambda signed=signed: signed_entries(stack) > signed, within_s=SETTLE_S)
            # Sent every ten seconds from beat through the broker to the worker.
            until(lambda ahead_s=ahead_s: _is_near(_heard_of_worker_s(stack), ahead_s), within_s=SETTLE_S)
            until(lambda: (backlog(stack) or 0) < 50, within_s=SETTLE_S)
        assert not _negative(stack)
        _revoke(stack, few)
        until(lambda: not _is_accepted(stack, few), within_s=SETTLE_S)
    failed = load.complaints(clock_of_machine)
    keep("clock-moved", {"moves": len(AHEAD_S), "calls": len(load.outcomes), "not_answered": len(failed)})
    assert not failed, f"{len(failed)} predictions failed although only the clock was set: {failed[:3]}"
    check_every_answer_is_audited_once(stack, load.ok_ids(), tmp_path)
    backwards = [span.name for span in collector[0].spans if span.end_time_unix_nano < span.start_time_unix_nano]
    assert {"amulet-gateway", "amulet-torchserve", "amulet-console"} <= collector[0].spans_of.keys()
    assert not backwards


def _is_near(unix_s: float, ahead_s: int) -> bool:
    """Whether this is now, by a clock that is so far ahead."""
    return abs(unix_s - ahead_s - datetime.now(UTC).timestamp()) < SETTLE_S


def _durations(answer: pb.PredictResponse) -> list[object]:
    timings = answer.timings
    return [timings.total, timings.decode, timings.inference, timings.journal]


def _seconds(duration: object) -> float:
    return duration.ToNanoseconds() / 1e9  # type: ignore[attr-defined,no-any-return]


def _key_that_ends(stack: Stack, after: timedelta) -> str:
    console = stack.console()
    client = console.call("POST", "clients/", json={"name": "ends", "calls_per_minute": 100_000})
    ends = {"expires_at": (datetime.now(UTC) + after).isoformat()}
    return str(console.call("POST", f"clients/{client['id']}/keys/", json=ends)["key"])


def _revoke(stack: Stack, key: str) -> None:
    stack.console().call("POST", f"keys/{key.split('_')[1]}/revoke/")


def _is_accepted(stack: Stack, key: str) -> bool:
    """Whether a gateway takes this key for one that has neither ended nor been revoked."""
    with stack.channel() as channel:
        models = rpc.PredictionServiceStub(channel).ListModels
        try:
            models(pb.ListModelsRequest(), metadata=(("x-api-key", key),), timeout=20)
        except grpc.RpcError as error:
            return bool(error.code() != grpc.StatusCode.UNAUTHENTICATED)
        return True


def _admitted(stack: Stack, key: str, photo: bytes, *, calls: int) -> int:
    """How many of so many calls are not refused for being too many."""
    let_in = 0
    with stack.channel() as channel:
        predict = rpc.PredictionServiceStub(channel).Predict
        for _ in range(calls):
            try:
                predict(pb.PredictRequest(views=[pb.View(photo=photo)]), metadata=(("x-api-key", key),), timeout=20)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - the others are let in
            else:
                let_in += 1
    return let_in


def _heard_of_worker_s(stack: Stack) -> float:
    """When the worker last did a task, by its clock, in seconds since 1970."""
    with closing(sqlite3.connect(f"file:{stack.layout.console / 'db.sqlite3'}?mode=ro", uri=True)) as database:
        (beaten_at,) = database.execute("SELECT beaten_at FROM pulse_pulse WHERE service = 'worker'").fetchone()
    return datetime.fromisoformat(beaten_at).replace(tzinfo=UTC).timestamp()


def _negative(stack: Stack) -> list[str]:
    """Measurements of gateway and console that are below 0."""
    found = []
    for url in (stack.layout.gateway_ops_url, stack.layout.console_url):
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found += [line for line in lines if not line.startswith("#") and float(line.split()[-1]) < 0]
    return found
