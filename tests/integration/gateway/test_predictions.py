"""A gateway process before a real TorchServe."""

from __future__ import annotations

import psutil
import pytest

from protos.amulet.v1 import vocabulary_pb2 as words
from tests.integration.gateway.process import GatewayProcess, until
from tests.tiny_archive import NAME, VERSION
from tests.unit.gateway.cast import Console, photo

pytestmark = pytest.mark.torchserve
MIB = 2**20


def test_a_photograph_goes_through_torchserve_and_its_event_to_the_console(
    gateway: GatewayProcess, console: Console
) -> None:
    response = gateway.predict(photo("green"))

    assert (response.model, response.version, response.candidates[0].class_id) == (NAME, VERSION, "green")
    assert response.verdict == words.VERDICT_IN_DOMAIN
    until(lambda: bool(console.events()), s_max=5, what="the event reaches the console")
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
