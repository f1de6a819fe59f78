"""A console that is killed, hung or slow: no append waits for it, and everything arrives, in order."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.journal.journal import Journal
from gateway.journal.shipper import Shipper, ShipperSettings
from gateway.journal.writer import JournalSettings
from protos.amulet.events.v1 import events_pb2 as pb
from tests.fault.console_place import ConsolePlace
from tests.unit.gateway.journal.delivery import delivered, until

pytestmark = pytest.mark.fault

APPEND_S_MAX = 1.0  # far above what a loaded machine needs, far below any timeout of delivery
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


class Load:
    """Events appended one after another, with the longest that one took."""

    def __init__(self, journal: Journal, *, photograph: bytes = b"") -> None:
        self._journal = journal
        self._photograph = photograph
        self.names: list[str] = []
        self.longest_s = 0.0

    async def append(self, count: int) -> None:
        for _ in range(count):
            name = f"event-{len(self.names)}"
            self.names.append(name)
            event = pb.Event(event_id=name, gateway_id="x" * 200)
            if self._photograph:
                event.prediction.views.add().photo.ciphertext = self._photograph
            began = time.monotonic()
            await self._journal.append(event.SerializeToString())
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    async def arrive(self, *, per_s: float) -> None:
        """Append at an even pace until cancelled."""
        began, count = time.monotonic(), 0
        while True:
            await self.append(1)
            count += 1
            await asyncio.sleep(max(0.0, began + count / per_s - time.monotonic()))


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
    assert load.longest_s < APPEND_S_MAX


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
    assert load.longest_s < APPEND_S_MAX


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
    backlog, began = len(load.names), time.monotonic()
    arriving = asyncio.create_task(load.arrive(per_s=ARRIVALS_PER_S))
    await until(shipper, lambda state: len(load.names) - state.backlog_records > backlog)
    took_s, arrived = time.monotonic() - began, len(load.names) - backlog
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
    arriving = asyncio.create_task(load.arrive(per_s=PHOTOGRAPHS_PER_S))
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
