"""A gateway that is killed with a call under a key: the call counts once, whichever gateway it is made again at."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import grpc
import pytest
import redis

from gateway.replays import place_of
from gateway.shared_answers import CLAIM_S
from tests.integration.gateway.conftest import environment
from tests.integration.gateway.process import GatewayProcess, until
from tests.integration.torchserve.server import RunningTorchServe
from tests.unit.gateway.admission.test_limits import REDIS_URL, redis_answers
from tests.unit.gateway.cast import SOMCHAI, Console, client, photo, policy

pytestmark = [pytest.mark.torchserve, pytest.mark.servers]
CLIENT: Final = "client-of-two-gateways"
# A Redis that a busy machine keeps silent for a tenth of a second is not what is looked at here.
PATIENT: Final = """
import runpy, gateway.shared_redis as shared
shared._ANSWER_S_MAX = 10.0
runpy.run_module("gateway", run_name="__main__")
"""
# And a disk that tells nobody what it has written while there is a file "hold"; then there is a file "held".
HELD: Final = """
import os, threading
from pathlib import Path
sync = os.fdatasync
def held(descriptor):
    sync(descriptor)
    if Path({hold!r}).exists():
        Path({held!r}).touch()
        threading.Event().wait()
os.fdatasync = held
"""
# And a file "asked" says that a caller's photograph is on its way to the model: its version is chosen by then.
ASKED: Final = """
import gateway.serving.torchserve as torchserve
predict = torchserve.TorchServe.predict
async def telling(self, name, version, images, **rest):
    if images[0].pixels is not None:
        Path({asked!r}).touch()
    return await predict(self, name, version, images, **rest)
torchserve.TorchServe.predict = telling
"""
# A claim ends after five seconds, and then a busy machine has to answer: far from the minute that it once took.
TAKEN_OVER_S_MAX: Final = 30.0


@pytest.fixture
def gateways(tmp_path: Path, server: RunningTorchServe, console: Console) -> Iterator[list[GatewayProcess]]:
    """Two that share a Redis."""
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    console.issue(policy(clients=[client(SOMCHAI, client_id=CLIENT, calls_per_minute=1_000)]))
    with ExitStack() as stack:
        running = []
        for name in ("gateway-1", "gateway-2"):
            variables = environment(tmp_path / name, server, console) | {
                "AMULET_GATEWAY_ID": name,
                "AMULET_CACHE_URL": REDIS_URL,
            }
            log = tmp_path / f"{name}.log"
            held = HELD.format(hold=str(tmp_path / name / "hold"), held=str(tmp_path / name / "held"))
            asked = ASKED.format(asked=str(tmp_path / name / "asked"))
            running.append(stack.enter_context(GatewayProcess(variables, log, ("-c", held + asked + PATIENT))))
        for gateway in running:
            until_ready(gateway)
        yield running


def predictions(console: Console) -> list[str]:
    """Those that were delivered."""
    return [event.prediction.prediction_id for event in console.events() if event.HasField("prediction")]


def holds(shared: redis.Redis, key: str, kind: bytes) -> bool:
    """What stands under the key: a claim (c), the mark of an answer that may be on the disk (r), or an answer (a)."""
    held = shared.get(b"amulet:answers:" + place_of(CLIENT, key))
    return isinstance(held, bytes) and held.startswith(kind)


def has_delivered(gateway: GatewayProcess) -> bool:
    return "amulet_backlog_events 0.0" in gateway.page("/metrics")[1]


@contextmanager
def without_an_answer(server: RunningTorchServe) -> Iterator[None]:
    """The model answers nobody meanwhile."""
    worker = server.worker()
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


def until_ready(gateway: GatewayProcess) -> None:
    """A model that is silent for two seconds is no longer ready, and needs a moment once it speaks."""
    until(lambda: gateway.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")


def waits(gateway: GatewayProcess) -> bool:
    return "amulet_calls_in_flight 1.0" in gateway.page("/metrics")[1]


def test_killed_before_its_answer_was_recorded_the_other_gateway_answers_in_seconds(
    gateways: list[GatewayProcess], server: RunningTorchServe, console: Console
) -> None:
    (first, second), key = gateways, uuid4().hex
    with redis.Redis.from_url(REDIS_URL) as shared, ThreadPoolExecutor(1) as callers:
        with without_an_answer(server):
            lost = callers.submit(first.predict, photo(), idempotency_key=key)
            until(lambda: holds(shared, key, b"c"), s_max=30, what="the first gateway is at it")
            first.kill()
        with pytest.raises(grpc.RpcError):
            lost.result()
    until_ready(second)
    began_s = time.monotonic()
    answer = second.predict(photo(), idempotency_key=key, deadline_s=120)
    took_s = time.monotonic() - began_s
    first.start()
    again = first.predict(photo(), idempotency_key=key)

    for gateway in gateways:
        until(lambda gateway=gateway: has_delivered(gateway), s_max=60, what="its events are delivered")  # type: ignore[misc]  # bound
    print(f"taken over after {took_s:.1f} s")
    assert took_s < TAKEN_OVER_S_MAX
    assert (again.prediction_id, again.replayed) == (answer.prediction_id, True)
    assert predictions(console) == [answer.prediction_id]


def test_stopped_before_its_answer_was_recorded_it_records_nothing_when_it_goes_on(
    gateways: list[GatewayProcess], server: RunningTorchServe, console: Console, tmp_path: Path
) -> None:
    """The late owner: its model has answered it while it stood, and another gateway has answered the call."""
    (first, second), key = gateways, uuid4().hex
    with redis.Redis.from_url(REDIS_URL) as shared, ThreadPoolExecutor(1) as callers:
        with without_an_answer(server):
            late = callers.submit(first.predict, photo(), idempotency_key=key, deadline_s=120)
            until(lambda: holds(shared, key, b"c"), s_max=30, what="the first gateway is at it")
            until((tmp_path / "gateway-1" / "asked").exists, s_max=30, what="the model was asked")
            first.process.send_signal(signal.SIGSTOP)
        try:
            until_ready(second)
            answer = second.predict(photo(), idempotency_key=key, deadline_s=120)
        finally:
            first.process.send_signal(signal.SIGCONT)
        said = late.result()

    for gateway in gateways:
        until(lambda gateway=gateway: has_delivered(gateway), s_max=60, what="its events are delivered")  # type: ignore[misc]  # bound
    assert not answer.replayed
    assert (said.prediction_id, said.replayed) == (answer.prediction_id, True)
    assert predictions(console) == [answer.prediction_id]


def test_killed_with_its_answer_on_the_disk_the_other_gateway_waits_for_it(
    gateways: list[GatewayProcess], console: Console, tmp_path: Path
) -> None:
    (first, second), key = gateways, uuid4().hex
    hold, held = (tmp_path / "gateway-1" / name for name in ("hold", "held"))
    hold.touch()
    with redis.Redis.from_url(REDIS_URL) as shared, ThreadPoolExecutor(2) as callers:
        lost = callers.submit(first.predict, photo(), idempotency_key=key)
        until(held.exists, s_max=30, what="the answer is on the disk")
        assert holds(shared, key, b"r")
        first.kill()
        with pytest.raises(grpc.RpcError):
            lost.result()
        again = callers.submit(second.predict, photo(), idempotency_key=key, deadline_s=120)
        until(lambda: waits(second), s_max=30, what="the second waits")
        with pytest.raises(TimeoutError):
            again.result(timeout=2 * CLAIM_S)
        hold.unlink()
        first.start()
        answer = again.result()

    for gateway in gateways:
        until(lambda gateway=gateway: has_delivered(gateway), s_max=60, what="its events are delivered")  # type: ignore[misc]  # bound
    assert answer.replayed
    assert predictions(console) == [answer.prediction_id]
