"""One client floods a running gateway, another sends one call at a time: both over real gRPC."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import grpc

from gateway.admission.shedding import CALLS_A_CORE
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.cores import cores
from protos.inference import open_inference_pb2 as oip
from tests.unit.gateway.cast import (
    SOMCHAI,
    Gateway,
    Refused,
    client,
    new_key,
    photo,
    policy,
    refusal_of,
    refused,
    running_gateway,
    until,
)
from tests.unit.gateway.test_open_inference import request, stub_of

WORKED_ON: Final = CALLS_A_CORE * cores()  # at once, as long as nothing was answered
WAITING: Final = 34
FLOOD: Final = new_key()
CLIENTS: Final = [
    client(SOMCHAI, calls_per_minute=10_000),
    client(FLOOD, client_id="client-flood", calls_per_minute=10_000),
]


async def test_one_call_waits_for_one_of_each_client_and_not_for_the_flood(tmp_path: Path) -> None:
    places = WORKED_ON + WAITING + 8
    async with running_gateway(tmp_path, policy=policy(clients=CLIENTS), calls_in_flight_max=places) as gateway:
        seen = gateway.graph.seen
        gateway.graph.hold()
        flood = Flood(gateway, WORKED_ON + WAITING)
        await until(lambda: len(seen) == WORKED_ON, what="as many calls are worked on as may be at once")
        await flood.waits(WAITING)

        polite = asyncio.create_task(gateway.predict(photo("green")))
        await flood.waits(WAITING + 1)
        for called_in in (1, 2):
            gateway.graph.let_through(1)
            await until(lambda n=called_in: len(seen) == WORKED_ON + n, what="another one is worked on")  # type: ignore[misc]  # the loop's variable, bound

        assert colours(gateway) == ["red", "green"]
        gateway.graph.release()
        assert (await polite).candidates[0].class_id == "green"
        await flood.ended()


async def test_in_a_full_house_it_is_the_flood_that_is_shed(tmp_path: Path) -> None:
    places = WORKED_ON + 4
    async with running_gateway(tmp_path, policy=policy(clients=CLIENTS), calls_in_flight_max=places) as gateway:
        gateway.graph.hold()
        flood = Flood(gateway, places)
        await flood.waits(4)
        turned_away = await refusal_of(gateway.predict(photo(), metadata=FLOOD.metadata))
        assert (turned_away.code, turned_away.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, words.REASON_OVERLOADED)
        assert not flood.shed

        polite = asyncio.create_task(gateway.predict(photo("green")))
        await until(lambda: len(flood.shed) == 1, what="one call of the flood makes place")
        gateway.graph.release()

        assert (await polite).candidates[0].class_id == "green"
        await flood.ended()
        assert [(each.code, each.reason) for each in flood.shed] == [(turned_away.code, turned_away.reason)]
        assert flood.shed[0].retry_after_s


async def test_calls_under_keys_that_were_given_up_keep_their_places_while_they_are_worked_on(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(clients=CLIENTS), calls_in_flight_max=2) as gateway:
        gateway.graph.hold()
        first = asyncio.create_task(gateway.predict(photo(), idempotency_key="k-1"))
        await until(lambda: len(gateway.graph.seen) == 1, what="the first call is worked on")
        batch = asyncio.ensure_future(stub_of(gateway).ModelInfer(two_photos("k-2"), metadata=SOMCHAI.metadata))
        await until(lambda: len(gateway.graph.seen) == 3, what="both photographs of the batch are worked on")
        for call in (first, batch):
            call.cancel()
        await until(lambda: given_up(gateway, 2), what="the gateway knows that both callers have left")

        in_flight = await gateway.metric("amulet_calls_in_flight")
        turned_away = await refusal_of(gateway.predict(photo(), idempotency_key="k-3"))
        gateway.graph.let_through(2)
        await until(lambda: is_in_flight(gateway, 1), what="one place is free again")
        gateway.graph.release()
        await until(lambda: is_in_flight(gateway, 0), what="all places are free again")

        assert (await gateway.predict(photo(), idempotency_key="k-1")).replayed
    assert in_flight == 2
    assert turned_away.reason == words.REASON_OVERLOADED


async def test_calls_without_keys_that_were_given_up_leave_their_places(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy(clients=CLIENTS), calls_in_flight_max=1) as gateway:
        gateway.graph.hold()
        call = asyncio.create_task(gateway.predict(photo()))
        await until(lambda: len(gateway.graph.seen) == 1, what="the call is worked on")
        call.cancel()

        await until(lambda: is_in_flight(gateway, 0), what="its place is free again")


def two_photos(key: str) -> oip.ModelInferRequest:
    return request(photo("red"), photo("blue"), idempotency_key=key)


async def is_in_flight(gateway: Gateway, calls: int) -> bool:
    return await gateway.metric("amulet_calls_in_flight") == calls


async def given_up(gateway: Gateway, calls: int) -> bool:
    _, page = await gateway.page("/metrics")
    counts = [line for line in page.splitlines() if line.startswith('amulet_calls_total{code="CANCELLED"')]
    return sum(float(line.split()[-1]) for line in counts) == calls


class Flood:
    """Calls of one client, all at once."""

    def __init__(self, gateway: Gateway, calls: int) -> None:
        self.shed: list[Refused] = []
        self._gateway = gateway
        self._calls = [asyncio.create_task(self._call(seed)) for seed in range(calls)]

    async def waits(self, calls: int) -> None:
        """So many calls wait now, or would if a queue that stands had not begun to be shed (after a second)."""

        async def as_many() -> bool:
            return await self._gateway.metric("amulet_calls_waiting") + len(self.shed) >= calls

        await until(as_many, what=f"{calls} calls wait")

    async def ended(self) -> None:
        await asyncio.gather(*self._calls)

    async def _call(self, seed: int) -> None:
        try:
            await self._gateway.predict(photo("red", seed=seed), metadata=FLOOD.metadata)
        except grpc.aio.AioRpcError as error:
            self.shed.append(refused(error))


def colours(gateway: Gateway) -> list[str]:
    """Of the photographs that were worked on after the first, in order."""
    means = [gateway.graph.pixels_seen(index).mean((0, 1)) for index in range(WORKED_ON, len(gateway.graph.seen))]
    return [("red", "green", "blue")[mean.argmax()] for mean in means]
