"""A console that is killed, hung or slow: no append waits for it, and everything arrives, in order."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from gateway.journal.journal import Journal
from gateway.journal.shipper import Shipper, ShipperSettings, ShipperState
from gateway.journal.writer import JournalSettings
from protos.amulet.events.v1 import events_pb2 as pb
from tests.fault.console_place import ConsolePlace
from tests.machine import Stopwatch
from tests.unit.gateway.journal.delivery import FOR_EVER_S, delivered, shipping
from tests.unit.gateway.journal.delivery import until as until_soon

pytestmark = pytest.mark.fault

WAIT_S = 120.0
LOOK_S = 0.1  # between two looks at what has arrived
ARRIVALS_PER_S = 300.0  # several times what one gateway serves
PHOTOGRAPHS_PER_S = 60.0  # about what one gateway serves
PHOTOGRAPH_BYTES = 92_000  # of a sealed one, as it is kept


@pytest.fixture
def place(tmp_path: Path) -> Iterator[ConsolePlace]:
    place = ConsolePlace(tmp_path / "console")
    place.start()
    yield place
    place.kill()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = await Journal.open(JournalSettings(tmp_path / "journal", free_bytes_min=0, segment_bytes_max=50_000))
    yield journal
    await journal.close()


@pytest.fixture
async def shipper(journal: Journal, place: ConsolePlace) -> AsyncIterator[Shipper]:
    settings = ShipperSettings(place.url, place.token, batch_records_max=200, answer_s_max=1.0)
    shipper = Shipper(journal, settings)
    task = asyncio.create_task(shipper.run())
    yield shipper
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(shipper: Shipper, holds: Callable[[ShipperState], bool]) -> ShipperState:
    return await until_soon(shipper, holds, within_s=WAIT_S)


class Load:
    """Events appended one after another."""

    def __init__(self, journal: Journal, *, photograph: bytes = b"") -> None:
        self._journal = journal
        self._photograph = photograph
        self.names: list[str] = []

    async def append(self, count: int) -> None:
        for _ in range(count):
            name = f"event-{len(self.names)}"
            self.names.append(name)
            event = pb.Event(event_id=name, gateway_id="x" * 200)
            if self._photograph:
                event.prediction.views.add().photo.ciphertext = self._photograph
            await self._journal.append(event.SerializeToString())

    async def arrive(self, clock: Stopwatch, *, per_s: float) -> None:
        """Append at an even pace by this clock until cancelled."""
        before = len(self.names)
        while True:
            await self.append(max(0, before + int(clock.took_s() * per_s) - len(self.names)))
            await asyncio.sleep(LOOK_S)


def clock_of(place: ConsolePlace) -> Stopwatch:
    """For what the journal, the shipper and the console have to do (decision 0095). It stands while others compute:
    their work would slow delivery, and arrivals at a pace by the wall would not wait for it."""
    return Stopwatch([psutil.Process(), psutil.Process(place.pid)])


async def test_a_console_killed_again_and_again(
    journal: Journal, shipper: Shipper, place: ConsolePlace, seed: int
) -> None:
    dice = random.Random(seed)
    load = Load(journal)
    for _ in range(8):
        await load.append(dice.randrange(1, 150))
        place.kill()
        await load.append(dice.randrange(1, 150))
        place.start()
    await until(shipper, delivered)
    assert place.applied == load.names


@pytest.mark.parametrize("away", ["killed", "hung"])
async def test_no_append_waits_for_an_attempt_to_deliver_or_for_the_next_one(
    journal: Journal, place: ConsolePlace, away: str
) -> None:
    """Neither ends before these appends do, however long they take on this machine."""
    load = Load(journal)
    if away == "killed":
        place.kill()
    else:
        place.behave("hold")
    settings = ShipperSettings(
        place.url, place.token, answer_s_max=FOR_EVER_S, retry_s_min=FOR_EVER_S, retry_s_max=FOR_EVER_S
    )
    async with shipping(journal, settings) as shipper:
        await load.append(1)
        await until(shipper, lambda state: state.failures == 1 if away == "killed" else place.holds)
        failures = shipper.state().failures
        async with asyncio.timeout(WAIT_S):
            await load.append(200)
        assert (shipper.state().failures, shipper.state().backlog_records) == (failures, 201)


async def test_a_console_that_hangs_holds_up_nobody_and_gets_everything_when_it_goes_on(
    journal: Journal, shipper: Shipper, place: ConsolePlace
) -> None:
    load = Load(journal)
    await load.append(50)
    await until(shipper, delivered)
    place.signal(signal.SIGSTOP)
    await load.append(500)
    state = await until(shipper, lambda state: state.failures >= 2)
    assert "did not answer within 1 s" in state.sentence
    assert state.backlog_records == 500
    place.signal(signal.SIGCONT)
    await until(shipper, delivered)
    assert place.applied == load.names


async def test_a_backlog_is_drained_at_more_than_twice_the_pace_of_new_events(
    journal: Journal, shipper: Shipper, place: ConsolePlace
) -> None:
    load = Load(journal)
    place.kill()
    async with asyncio.TaskGroup() as callers:
        for _ in range(20):
            callers.create_task(load.append(200))
    await until(shipper, lambda state: not state.delivering)
    place.start()
    backlog, clock = len(load.names), clock_of(place)
    arriving = asyncio.create_task(load.arrive(clock, per_s=ARRIVALS_PER_S))
    await until(shipper, lambda state: len(load.names) - state.backlog_records > backlog)
    took_s, arrived = clock.took_s(), len(load.names) - backlog
    arriving.cancel()
    print(f"{backlog} events of backlog delivered in {took_s:.2f} s while {arrived} arrived")
    assert backlog + arrived >= 2 * arrived
    assert backlog / took_s >= 2 * ARRIVALS_PER_S
    await until(shipper, delivered)
    assert sorted(place.applied) == sorted(load.names)


async def test_a_backlog_of_photographs_shrinks_while_more_arrive(
    tmp_path: Path, place: ConsolePlace, seed: int
) -> None:
    journal = await Journal.open(JournalSettings(tmp_path / "journal", free_bytes_min=0))
    shipper = Shipper(journal, ShipperSettings(place.url, place.token))
    load = Load(journal, photograph=random.Random(seed).randbytes(PHOTOGRAPH_BYTES))
    place.kill()
    await load.append(200)
    place.start()
    backlog = len(load.names)
    arriving = asyncio.create_task(load.arrive(clock_of(place), per_s=PHOTOGRAPHS_PER_S))
    delivering = asyncio.create_task(shipper.run())
    state = await until(shipper, lambda state: len(load.names) - state.backlog_records > backlog)
    arrived = len(load.names) - backlog
    arriving.cancel()
    print(f"{backlog} photographs of backlog delivered in {len(place.batches)} batches while {arrived} arrived")
    assert state.backlog_records < backlog
    await until(shipper, delivered)
    delivering.cancel()
    with suppress(asyncio.CancelledError):
        await delivering
    await journal.close()
    assert place.applied == load.names
