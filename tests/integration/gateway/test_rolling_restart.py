"""Gateways restarted one after the other under load: no call of a client with standard retries fails."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import pytest

from amulet_client import AmuletError
from amulet_client import Client as AmuletClient
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc
from tests.integration.gateway.conftest import environment
from tests.integration.gateway.process import GatewayProcess, until
from tests.integration.torchserve.server import RunningTorchServe
from tests.ports import free_ports
from tests.unit.gateway.cast import SOMCHAI, Console, client, photo, policy

pytestmark = pytest.mark.torchserve
CALLERS: Final = 4
RETRIES: Final = {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "3s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


Ask = Callable[[str], str]  # idempotency key -> the prediction's id; raises grpc.RpcError or AmuletError


@contextmanager
def any_client(target: str, *, retries: bool = True) -> Iterator[Ask]:
    """One in whatever language, with the service config of docs/callers.md."""
    method = {"name": [{"service": "amulet.v1.PredictionService"}], **({"retryPolicy": RETRIES} if retries else {})}
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": "amulet.v1.PredictionService"},
        "methodConfig": [method],
    }
    options = (
        ("grpc.service_config", json.dumps(config)),
        # Of a gateway that comes back is heard at once: as where addresses are resolved anew.
        ("grpc.max_reconnect_backoff_ms", 200),
        ("grpc.use_local_subchannel_pool", 1),
    )
    with grpc.insecure_channel(target, options=options) as channel:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)

        def ask(key: str) -> str:
            request = pb.PredictRequest(views=[pb.View(photo=photo())], idempotency_key=key)
            return str(stub.Predict(request, metadata=SOMCHAI.metadata, timeout=20).prediction_id)

        yield ask


@contextmanager
def our_client(target: str) -> Iterator[Ask]:
    with AmuletClient(target, api_key=SOMCHAI.text, plaintext=True, timeout_s=20, share_calls=True) as one:
        yield lambda key: one.predict([photo()], idempotency_key=key).prediction_id


class Calls:
    """What became of the calls of some callers who know both gateways and call in turn."""

    def __init__(
        self, gateways: Sequence[GatewayProcess], client_of: Callable[[str], AbstractContextManager[Ask]]
    ) -> None:
        self._target = "ipv4:" + ",".join(gateway.target for gateway in gateways)
        self._client_of = client_of
        self._stop = threading.Event()
        self.ids: list[str] = []
        self.failed: Counter[str] = Counter()

    def _call(self, caller: int) -> None:
        with self._client_of(self._target) as ask:
            number = 0
            while not self._stop.is_set():
                number += 1
                try:
                    self.ids.append(ask(f"{caller}-{number}"))
                except (grpc.RpcError, AmuletError) as error:
                    self.failed[str(error)] += 1

    @contextmanager
    def going_on(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._call, args=(caller,)) for caller in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def until_more(self) -> None:
        """Twenty calls more have been answered."""
        wanted = len(self.ids) + 20
        until(lambda: len(self.ids) >= wanted, s_max=60, what="calls are answered")


@pytest.fixture
def gateways(tmp_path: Path, server: RunningTorchServe) -> Iterator[list[GatewayProcess]]:
    """Two, on ports that they have again after a restart."""
    with ExitStack() as stack:
        console = stack.enter_context(Console(policy(clients=[client(SOMCHAI, calls_per_minute=1_000_000)])))
        running = []
        for number, (port, ops_port) in enumerate(zip(free_ports(2), free_ports(2), strict=True)):
            folder = tmp_path / f"gateway-{number}"
            variables = environment(folder, server, console) | {
                "AMULET_GATEWAY_LISTEN": f"127.0.0.1:{port}",
                "AMULET_GATEWAY_OPS_LISTEN": f"127.0.0.1:{ops_port}",
                "AMULET_GATEWAY_ID": f"gateway-{number}",
            }
            running.append(stack.enter_context(GatewayProcess(variables, folder / "gateway.log")))
        for gateway in running:
            until_ready(gateway)
        yield running


def until_ready(gateway: GatewayProcess) -> None:
    until(lambda: gateway.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")


@pytest.mark.parametrize("client_of", [any_client, our_client])
def test_no_call_fails_while_gateways_are_restarted_one_after_the_other(
    gateways: list[GatewayProcess], client_of: Callable[[str], AbstractContextManager[Ask]]
) -> None:
    calls = Calls(gateways, client_of)
    with calls.going_on():
        calls.until_more()
        for gateway in gateways * 2:
            assert gateway.stop() == 0
            calls.until_more()
            gateway.start()
            until_ready(gateway)
            calls.until_more()

    print(f"{len(calls.ids)} calls answered")
    assert calls.failed == {}
    assert len(set(calls.ids)) == len(calls.ids)


def test_gateways_that_are_away_together_are_noticed(gateways: list[GatewayProcess]) -> None:
    """Negative control: nobody there, and nobody who tries again."""
    calls = Calls(gateways, partial(any_client, retries=False))
    with calls.going_on():
        calls.until_more()
        for gateway in gateways:
            gateway.kill()
        until(lambda: bool(calls.failed), s_max=60, what="calls fail")
