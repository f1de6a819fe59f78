"""A gateway process before a real TorchServe."""

from __future__ import annotations

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # ships without stubs

from protos.amulet.v1 import vocabulary_pb2 as words
from tests.integration.gateway.process import GatewayProcess, until
from tests.integration.torchserve.server import RunningTorchServe
from tests.machine import Watch, run_delay_s
from tests.tiny_archive import NAME, VERSION
from tests.unit.gateway.cast import Console, photo, refused

pytestmark = pytest.mark.torchserve
MIB = 2**20


def test_a_photograph_goes_through_torchserve_and_its_event_to_the_console(
    gateway: GatewayProcess, console: Console
) -> None:
    response = gateway.predict(photo("green"))

    assert (response.model, response.version, response.candidates[0].class_id) == (NAME, VERSION, "green")
    assert response.verdict == words.VERDICT_IN_DOMAIN
    until(lambda: bool(console.events()), s_max=30, what="the event reaches the console")
    assert console.events()[0].prediction.prediction_id == response.prediction_id


def test_a_gateway_and_its_decoders_are_small(gateway: GatewayProcess) -> None:
    for colour in ("red", "green", "blue"):
        gateway.predict(photo(colour, side_px=1024))

    process = psutil.Process(gateway.process.pid)
    assert process.memory_info().rss < 150 * MIB
    decoders = process.children()
    assert decoders
    assert all(decoder.memory_info().rss < 80 * MIB for decoder in decoders)


def test_a_terminated_gateway_stops_cleanly(gateway: GatewayProcess) -> None:
    gateway.predict(photo())

    assert gateway.stop() == 0
    assert gateway.lines()[-1]["event"] == "stopped"


def health_of(gateway: GatewayProcess, service: str) -> int:
    with grpc.insecure_channel(gateway.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        status: int = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
        return status


def test_a_worker_that_hangs_is_told_within_five_seconds_and_found_again(
    gateway: GatewayProcess, server: RunningTorchServe
) -> None:
    service = f"model:{NAME}/{VERSION}"
    assert health_of(gateway, service) == health_pb2.HealthCheckResponse.SERVING
    worker = server.worker()
    own = psutil.Process(gateway.process.pid)
    machine, waited_s = Watch([psutil.Process()]), run_delay_s(own)
    worker.suspend()
    try:
        took_s = until(
            lambda: health_of(gateway, service) == health_pb2.HealthCheckResponse.NOT_SERVING,
            s_max=30,
            what="the model is not serving",
        )
        assert took_s - min(machine.taken_s(), run_delay_s(own) - waited_s) < 5  # less what others took: decision 0095
        assert gateway.readiness()["problems"].keys() == {f"model:{NAME}"}
        with pytest.raises(grpc.RpcError) as error:
            gateway.predict(photo())
        found = refused(error.value)  # type: ignore[arg-type]  # a call and an error in one
        assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, words.REASON_MODEL_NOT_READY)
    finally:
        worker.resume()

    until(lambda: gateway.page("/readyz")[0] == 200, s_max=60, what="the model is ready again")
    assert gateway.predict(photo()).model == NAME
