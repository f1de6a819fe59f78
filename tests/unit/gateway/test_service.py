"""Calls through a real gRPC port: what is answered, and what reaches the console."""

from __future__ import annotations

from protos.amulet.v1 import vocabulary_pb2 as words
from tests.tiny_archive import NAME, VERSION
from tests.unit.gateway.cast import Gateway, photo


async def test_a_photograph_is_answered_and_its_event_reaches_the_console(gateway: Gateway) -> None:
    response = await gateway.predict(photo("red"), request_id="r-1")

    assert (response.request_id, response.model, response.version) == ("r-1", NAME, VERSION)
    assert response.verdict == words.VERDICT_IN_DOMAIN
    assert response.candidates[0].class_id == "red"
    (event,) = await gateway.prediction_events()
    assert event.prediction_id == response.prediction_id
