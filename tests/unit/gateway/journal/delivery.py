"""What tests of the shipper say: append these events, deliver them there, wait until that holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from gateway.journal.journal import Journal
from gateway.journal.shipper import Shipper, ShipperSettings, ShipperState
from protos.amulet.events.v1 import events_pb2 as pb
from tests.fault.console_place import ConsolePlace

WAIT_S: Final = 30.0
FOR_EVER_S: Final = 3600.0


def settings_for(place: ConsolePlace) -> ShipperSettings:
    return ShipperSettings(place.url, place.token, batch_records_max=8, linger_s=0.0, sweep_s=0.05, retry_s_max=0.2)


@asynccontextmanager
async def shipping(journal: Journal, settings: ShipperSettings) -> AsyncIterator[Shipper]:
    shipper = Shipper(journal, settings, seed=1)
    task = asyncio.create_task(shipper.run())
    try:
        yield shipper
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(shipper: Shipper, holds: Callable[[ShipperState], bool], *, within_s: float = WAIT_S) -> ShipperState:
    async with asyncio.timeout(within_s):
        while True:
            if holds(state := shipper.state()):
                return state
            await asyncio.sleep(0.01)


def delivered(state: ShipperState) -> bool:
    return state.backlog_records == 0


async def append_events(journal: Journal, *names: str, photograph: bytes = b"") -> None:
    events = [pb.Event(event_id=name) for name in names]
    for event in events if photograph else ():
        event.prediction.views.add().photo.ciphertext = photograph
    for event in events:
        event.happened_at.GetCurrentTime()
    await asyncio.gather(*(journal.append(event.SerializeToString()) for event in events))


def names(count: int, *, first: int = 0) -> list[str]:
    return [f"event-{number}" for number in range(first, first + count)]
