"""How long delivery waits for a console that is slow or away, and what an operator reads meanwhile."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.journal.journal import Journal
from gateway.journal.shipper import ShipperSettings, _on_disk, pause_s
from tests.fault.console_place import ConsolePlace
from tests.unit.gateway.journal.delivery import (
    FOR_EVER_S,
    append_events,
    delivered,
    names,
    settings_for,
    shipping,
    until,
)

PATIENCE = ShipperSettings("", "", retry_s_min=0.25, retry_s_max=8.0)


@pytest.mark.parametrize(
    ("failures", "longest_s"), [(0, 0.25), (1, 0.5), (2, 1.0), (4, 4.0), (5, 8.0), (6, 8.0), (30, 8.0)]
)
def test_each_failure_doubles_the_pause_up_to_an_end_and_no_two_are_alike(failures: int, longest_s: float) -> None:
    spread = random.Random(1)
    pauses = [pause_s(PATIENCE, failures, spread) for _ in range(200)]
    assert longest_s / 2 <= min(pauses) < longest_s * 0.6
    assert longest_s * 0.9 < max(pauses) <= longest_s
    assert len(set(pauses)) > 100


async def test_after_a_success_the_next_failure_waits_as_briefly_as_the_first(
    journal: Journal, place: ConsolePlace
) -> None:
    """Ten failures come to a pause of a second; ten more in the same row would take twenty minutes."""
    patience = replace(settings_for(place), retry_s_min=0.001, retry_s_max=FOR_EVER_S)
    async with shipping(journal, patience) as shipper:
        for outage in (1, 2):
            place.behave("500")
            await append_events(journal, f"event-{outage}")
            await until(shipper, lambda state, least=10 * outage: state.failures >= least)  # type: ignore[misc]
            place.behave("ok")
            await until(shipper, delivered)


async def test_a_console_that_lets_nobody_in_is_given_up_before_an_answer_would_be_due(journal: Journal) -> None:
    """A machine that is gone drops what is sent to it: the attempt must not last as long as an answer may."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(8):  # the queue of connections is full; who comes now hears nothing
            caller = socket.socket()
            caller.setblocking(False)
            with suppress(BlockingIOError):
                caller.connect(full.getsockname())
            waiting.append(caller)
        nobody = ShipperSettings(
            f"http://127.0.0.1:{full.getsockname()[1]}", "", connect_s_max=0.2, answer_s_max=FOR_EVER_S
        )
        await append_events(journal, "event")
        async with shipping(journal, nobody) as shipper:
            state = await until(shipper, lambda state: state.failures >= 1)
        for caller in waiting:
            caller.close()
    assert "cannot be reached" in state.sentence


async def test_an_answer_that_trickles_is_given_up_though_something_always_comes(
    journal: Journal, place: ConsolePlace
) -> None:
    place.behave("trickle")
    await append_events(journal, *names(3))
    async with shipping(journal, replace(settings_for(place), answer_s_max=0.3)) as shipper:
        state = await until(shipper, lambda state: state.failures >= 1)
    assert "did not answer within 0.3 s" in state.sentence
    place.behave("ok")
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, delivered)
    assert place.applied == names(3)


async def test_an_outage_is_logged_once_for_each_cause_and_once_when_it_ends(
    journal: Journal, place: ConsolePlace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="gateway.journal.shipper"):
        await append_events(journal, "before")
        async with shipping(journal, settings_for(place)) as shipper:
            await until(shipper, delivered)
            place.behave("500")
            await append_events(journal, "event")
            await until(shipper, lambda state: state.failures >= 3)
            place.behave("page")
            await until(shipper, lambda state: "no receipt" in state.sentence)
            place.behave("ok")
            await until(shipper, delivered)
            await append_events(journal, "after")
            await until(shipper, delivered)
    told = [record.getMessage() for record in caplog.records if record.name == "gateway.journal.shipper"]
    assert told == [
        "events are kept in the journal: the console answered 500 instead of a receipt",
        "events are kept in the journal: the console's answer is no receipt",
        "events reach the console again",
    ]


async def test_a_cursor_that_cannot_be_written_holds_no_delivery_up(
    journal: Journal, place: ConsolePlace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The console has the events: some travel again after a restart, and count once there."""
    (tmp_path / "journal" / "cursor").mkdir()  # nothing can be renamed to it
    await append_events(journal, *names(3))
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, lambda _: place.applied == names(3) and "cursor cannot be written" in caplog.text)
        await append_events(journal, "after")
        await until(shipper, lambda _: place.applied == [*names(3), "after"])
        assert shipper.state().delivering


async def test_whoever_is_cancelled_waits_for_what_is_being_written() -> None:
    """Or a cursor would be written into a journal that is closed."""
    begun, may_end, written = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        may_end.wait()
        written.append("cursor")

    task = asyncio.create_task(_on_disk(work))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    left_alone = task.done()
    may_end.set()
    assert not left_alone
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written == ["cursor"]
