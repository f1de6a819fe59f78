"""A gateway that is killed with a call under a key: the call counts once, whichever gateway it is made again at."""

from __future__ import annotations

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
            running.append(stack.enter_context(GatewayProcess(variables, log, ("-c", PATIENT))))
        for gateway in running:
            until(lambda gateway=gateway: gateway.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")  # type: ignore[misc]  # bound
        yield running


def predictions(console: Console) -> list[str]:
    """Those that were delivered."""
    return [event.prediction.prediction_id for event in console.events() if event.HasField("prediction")]


def has_delivered(gateway: GatewayProcess) -> bool:
    return "amulet_backlog_events 0.0" in gateway.page("/metrics")[1]


def test_the_other_gateway_waits_for_what_becomes_of_it_and_one_event_is_left(
    gateways: list[GatewayProcess], server: RunningTorchServe, console: Console
) -> None:
    (first, second), key = gateways, uuid4().hex
    claim = b"amulet:answers:" + place_of(CLIENT, key)
    with redis.Redis.from_url(REDIS_URL) as shared, ThreadPoolExecutor(2) as callers:
        worker = server.worker()
        worker.suspend()
        try:
            lost = callers.submit(first.predict, photo(), idempotency_key=key)
            until(lambda: bool(shared.exists(claim)), s_max=30, what="the first gateway is at it")
            first.kill()
        finally:
            worker.resume()
        with pytest.raises(grpc.RpcError):
            lost.result()

        again = callers.submit(second.predict, photo(), idempotency_key=key, deadline_s=120)
        until(lambda: "amulet_calls_in_flight 1.0" in second.page("/metrics")[1], s_max=30, what="the second waits")
        assert not again.done()
        first.start()
        answer = again.result()
        third = first.predict(photo(), idempotency_key=key)

        for gateway in gateways:
            until(lambda gateway=gateway: has_delivered(gateway), s_max=60, what="its events are delivered")  # type: ignore[misc]  # bound

    assert (third.prediction_id, third.replayed) == (answer.prediction_id, True)
    assert predictions(console) == [answer.prediction_id]
