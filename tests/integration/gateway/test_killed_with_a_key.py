"""A gateway that is killed with a call under a key: the call counts once, whichever gateway it is made again at."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
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
# And a model whose answer to a caller's photograph comes to nobody while there is a file "silent"; then there is a file
# "answered". The golden photographs have their answers: a worker that is stopped instead is soon no longer ready.
SILENT: Final = """
import asyncio, gateway.serving.torchserve as torchserve
predict = torchserve.TorchServe.predict
async def holding(self, name, version, images, **rest):
    answer = await predict(self, name, version, images, **rest)
    while images[0].pixels is not None and Path({silent!r}).exists():
        Path({answered!r}).touch()
        await asyncio.sleep(0.05)
    return answer
torchserve.TorchServe.predict = holding
"""
FILES: Final = ("hold", "held", "silent", "answered")
# A claim ends after five seconds, and then a busy machine has to answer: far from the minute that it once took.
TAKEN_OVER_S_MAX: Final = 30.0


@pytest.fixture
def gateways(tmp_path: Path, server: RunningTorchServe, console: Console) -> Iterator[list[GatewayProcess]]:
    """Two that share a Redis."""
    if not redis_answers():
        pytest.skip(f"no Redis at {REDIS_URL}: start one with `redis-server`, or name it in AMULET_TEST_REDIS_URL")
    console.issue(policy(clients=[client(SOMCHAI, client_id=CLIENT, calls_per_minute=1_000)]))
    with ExitStack() as stack:
        running, run = [], uuid4().hex
        for name in ("gateway-1", "gateway-2"):
            variables = environment(tmp_path / name, server, console) | {
                # Whoever starts under a name ends what that name had begun: nobody else on this Redis has these.
                "AMULET_GATEWAY_ID": f"{name}-{run}",
                "AMULET_CACHE_URL": REDIS_URL,
                "AMULET_REQUEST_S_MAX": "120",
            }
            log = tmp_path / f"{name}.log"
            held, silent = (
                text.format(**{file: str(tmp_path / name / file) for file in FILES}) for text in (HELD, SILENT)
            )
            running.append(stack.enter_context(GatewayProcess(variables, log, ("-c", held + silent + PATIENT))))
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


def until_ready(gateway: GatewayProcess) -> None:
    until(lambda: gateway.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")


def waits(gateway: GatewayProcess) -> bool:
    return "amulet_calls_in_flight 1.0" in gateway.page("/metrics")[1]


def test_killed_before_its_answer_was_recorded_the_other_gateway_answers_in_seconds(
    gateways: list[GatewayProcess], console: Console, tmp_path: Path
) -> None:
    (first, second), key = gateways, uuid4().hex
    silent, answered = (tmp_path / "gateway-1" / name for name in ("silent", "answered"))
    silent.touch()
    with redis.Redis.from_url(REDIS_URL) as shared, ThreadPoolExecutor(1) as callers:
        lost = callers.submit(first.predict, photo(), idempotency_key=key, deadline_s=120)
        until(answered.exists, s_max=30, what="the first gateway is at it")
        assert holds(shared, key, b"c")
        first.kill()
        with pytest.raises(grpc.RpcError):
            lost.result()
    silent.unlink()
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
    gateways: list[GatewayProcess], console: Console, tmp_path: Path
) -> None:
    """The late owner: its model has answered it before it stood, and another gateway has answered the call."""
    (first, second), key = gateways, uuid4().hex
    silent, answered = (tmp_path / "gateway-1" / name for name in ("silent", "answered"))
    silent.touch()
    with redis.Redis.from_url(REDIS_URL) as shared, ThreadPoolExecutor(1) as callers:
        late = callers.submit(first.predict, photo(), idempotency_key=key, deadline_s=120)
        until(answered.exists, s_max=30, what="the model has answered")
        assert holds(shared, key, b"c")
        first.process.send_signal(signal.SIGSTOP)
        silent.unlink()
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
        lost = callers.submit(first.predict, photo(), idempotency_key=key, deadline_s=120)
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
