"""Delivery against a real HTTP server process that stands where the console is."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from gateway.journal.journal import Journal
from gateway.journal.shipper import Shipper, ShipperState
from protos.amulet.events.v1 import events_pb2 as pb
from tests.fault.console_place import ConsolePlace
from tests.unit.gateway.journal.delivery import (
    FOR_EVER_S,
    WAIT_S,
    append_events,
    delivered,
    names,
    settings_for,
    shipping,
    until,
)

PHOTOGRAPH_BYTES: Final = 92_000  # of an event with one kept photograph; a batch of a megabyte has eleven


def shrank(state: ShipperState, *, before: int) -> bool:
    return state.backlog_records < before


async def append_photographs(journal: Journal, *names: str) -> None:
    await append_events(journal, *names, photograph=random.Random(1).randbytes(PHOTOGRAPH_BYTES))


async def test_events_arrive_once_and_in_order_and_their_segments_go(
    journal: Journal, place: ConsolePlace, tmp_path: Path
) -> None:
    await append_events(journal, *names(300))
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, delivered)
        await append_events(journal, *names(10, first=300))
        await until(shipper, delivered)
    assert place.applied == names(310)
    assert journal.cursor == 311
    assert (state.delivering, state.rejected, state.failures, state.backlog_s) == (True, 0, 0, 0.0)
    assert len(list((tmp_path / "journal").glob("*.journal"))) == 1


@pytest.mark.parametrize(("arriving", "first"), [(0, 50), (1, 10), (4, 16), (40, 50)])
async def test_a_backlog_leaves_room_for_what_arrives(
    journal: Journal, place: ConsolePlace, arriving: int, first: int
) -> None:
    await append_events(journal, *names(200))
    settings = replace(settings_for(place), batch_records_max=50, catch_up_records_min=10, catch_up_ratio=4.0)
    shipper = Shipper(journal, settings, seed=1)
    if arriving:
        await append_events(journal, *names(arriving, first=200))
    task = asyncio.create_task(shipper.run())
    await until(shipper, delivered)
    task.cancel()

    # Only the first delivery had something arrive before it: the others take what the console can.
    assert place.batches[:2] == [first, 50 - first if first < 50 else 50]
    assert place.applied == names(200 + arriving)


async def test_everything_that_is_durable_is_delivered_before_a_pause_however_large_it_is(
    journal: Journal, place: ConsolePlace
) -> None:
    """A batch of a megabyte holds a fraction of the photographs that arrive while the shipper pauses."""
    shipper = Shipper(journal, replace(settings_for(place), batch_records_max=500, linger_s=FOR_EVER_S), seed=1)
    await append_photographs(journal, *names(60))
    task = asyncio.create_task(shipper.run())
    await until(shipper, delivered)
    task.cancel()
    assert place.applied == names(60)
    assert max(place.batches) == 11


async def test_a_portion_is_paused_after_where_something_arrives_and_confirmed_to_its_last_event(
    journal: Journal, place: ConsolePlace
) -> None:
    await append_events(journal, *names(20))
    settings = replace(settings_for(place), catch_up_records_min=3, linger_s=FOR_EVER_S)
    shipper = Shipper(journal, settings, seed=1)
    await append_events(journal, "event-20")
    task = asyncio.create_task(shipper.run())
    state = await until(shipper, lambda state: state.backlog_records == 17)
    task.cancel()

    assert (place.batches, place.applied, state.delivered) == ([4], names(4), 4)
    assert journal.cursor == 5  # though eight were read


@pytest.mark.parametrize("backlog", [0, 20])
async def test_a_pause_leaves_what_arrives_time_to_gather(journal: Journal, place: ConsolePlace, backlog: int) -> None:
    """After a portion, where something arrives; and once everything is delivered."""
    pause_s = 0.5
    await append_events(journal, *names(backlog or 3))
    began_s = time.monotonic()
    shipper = Shipper(journal, replace(settings_for(place), catch_up_records_min=3, linger_s=pause_s), seed=1)
    if backlog:
        await append_events(journal, "while it begins")
    task = asyncio.create_task(shipper.run())
    await until(shipper, delivered)
    if not backlog:
        await append_events(journal, "after")
        await until(shipper, delivered)
    task.cancel()

    assert time.monotonic() - began_s >= pause_s


async def test_a_backlog_is_delivered_without_a_pause_where_nothing_arrives(
    journal: Journal, place: ConsolePlace
) -> None:
    await append_events(journal, *names(20))
    async with shipping(journal, replace(settings_for(place), linger_s=FOR_EVER_S)) as shipper:
        await until(shipper, delivered)
    assert place.batches == [8, 8, 4]


async def test_an_event_larger_than_a_batch_is_delivered_by_itself(journal: Journal, place: ConsolePlace) -> None:
    await append_events(journal, "before")
    await append_events(journal, "large", photograph=random.Random(1).randbytes(5_000))
    await append_events(journal, "after")
    async with shipping(journal, replace(settings_for(place), batch_bytes_max=1_000)) as shipper:
        await until(shipper, delivered)
    assert (place.applied, place.batches) == (["before", "large", "after"], [1, 1, 1])


@pytest.mark.parametrize(("arriving", "portion"), [(1, 11), (2, 11), (5, 20), (10, 40)])
async def test_a_backlog_of_photographs_leaves_room_for_what_arrives(
    journal: Journal, place: ConsolePlace, arriving: int, portion: int
) -> None:
    """Four times as many as arrived, or as many as have a megabyte."""
    await append_photographs(journal, *names(60))
    shipper = Shipper(journal, replace(settings_for(place), batch_records_max=3), seed=1)
    await append_photographs(journal, *names(arriving, first=60))
    task = asyncio.create_task(shipper.run())
    await until(shipper, delivered)
    task.cancel()

    assert place.applied == names(60 + arriving)
    whole, rest = divmod(portion, 3)  # a batch that is not whole ends a portion
    assert place.batches[: whole + 1] == [3] * whole + [rest]


async def test_what_arrived_while_the_console_was_away_is_not_delivered_at_one_go(
    journal: Journal, place: ConsolePlace
) -> None:
    place.behave("500")
    await append_events(journal, *names(100))
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, lambda state: state.failures >= 3)
        await append_events(journal, *names(50, first=100))
        place.behave("ok")
        await until(shipper, delivered)
    assert place.batches[:4] == [1, 2, 4, 1]  # eight, as where nothing arrives


async def test_what_arrives_during_a_portion_gathers_for_the_next(journal: Journal, place: ConsolePlace) -> None:
    """Or a console that is quick would get each event in a batch of its own."""
    await append_events(journal, *names(6))
    shipper = Shipper(journal, settings_for(place), seed=1)
    place.behave("hold")
    task = asyncio.create_task(shipper.run())
    async with asyncio.timeout(WAIT_S):
        while not place.holds:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.01)
    await append_events(journal, *names(3, first=6))
    place.behave("ok")
    await until(shipper, delivered)
    task.cancel()
    assert place.batches == [6, 3]  # though the first portion has room for eight


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("500", "answered 500 instead of a receipt"),
        ("page", "answer is no receipt"),
        ("short", "receipt accounts for"),
        ("long", "receipt accounts for"),
        ("403", "refuses the control token"),
        ("claim nonesuch", "receipt rejects an event that was not sent"),
        ("claim event-0 event-0", "receipt rejects an event that was not sent, or one twice"),
    ],
)
async def test_anything_but_a_whole_receipt_means_that_it_is_sent_again(
    journal: Journal, place: ConsolePlace, behaviour: str, sentence: str
) -> None:
    place.behave(behaviour)
    await append_events(journal, *names(20))
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, lambda state: state.failures >= 3)
        assert not state.delivering
        assert sentence in state.sentence
        assert (state.backlog_records, journal.cursor) == (20, 1)
        assert state.backlog_s > 0
        place.behave("ok")
        assert (await until(shipper, delivered)).delivering
    assert place.applied == names(20)


async def test_an_answer_that_was_lost_makes_events_travel_twice_and_count_once(
    journal: Journal, place: ConsolePlace
) -> None:
    place.behave("lose-answer")
    await append_events(journal, *names(20))
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, lambda state: state.failures >= 2)
        place.behave("ok")
        state = await until(shipper, delivered)
    assert state.known_before > 0
    assert place.applied == names(20)


async def test_one_event_that_is_too_much_does_not_hold_up_those_before_it(
    journal: Journal, place: ConsolePlace
) -> None:
    place.behave("one-at-a-time")
    await append_events(journal, *names(12))
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, delivered)
    assert place.applied == names(12)


async def test_a_console_that_does_not_answer_is_given_up_and_asked_again(
    journal: Journal, place: ConsolePlace
) -> None:
    place.behave("hold")
    await append_events(journal, *names(20))
    async with shipping(journal, replace(settings_for(place), answer_s_max=0.2)) as shipper:
        state = await until(shipper, lambda state: state.failures >= 2)
        assert not state.delivering
        assert "the console" in state.sentence
    place.behave("ok")
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, delivered)
    assert place.applied == names(20)


async def test_what_the_gateway_remembers_for_itself_is_not_for_the_console(
    journal: Journal, place: ConsolePlace
) -> None:
    event = pb.Event(event_id="event")
    event.happened_at.GetCurrentTime()
    event.replay.SetInParent()
    assert event.HasField("replay")
    await journal.append(event.SerializeToString())
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, delivered)
    assert place.applied == ["event"]


async def test_no_proxy_of_the_environment_sees_the_events(
    journal: Journal, place: ConsolePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    await append_events(journal, *names(3))
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, lambda state: delivered(state) or state.failures > 0)
    assert (state.failures, place.applied) == (0, names(3))


async def test_a_wrong_token_is_named(journal: Journal, place: ConsolePlace) -> None:
    await append_events(journal, "event")
    wrong = replace(settings_for(place), token="wrong")
    assert "wrong" not in repr(wrong)
    async with shipping(journal, wrong) as shipper:
        state = await until(shipper, lambda state: state.failures > 0)
    assert "refuses the control token" in state.sentence


async def test_the_age_of_a_backlog_from_times_to_come_is_how_long_it_has_waited(
    journal: Journal, place: ConsolePlace
) -> None:
    place.behave("500")
    event = pb.Event(event_id="from the future")
    event.happened_at.FromSeconds(int(time.time()) + 86_400)
    began_s = time.monotonic()
    await journal.append(event.SerializeToString())
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, lambda state: state.failures > 0)
        state = await until(shipper, lambda state: state.backlog_s > 0.1)
        assert state.backlog_s <= time.monotonic() - began_s


async def test_an_event_after_a_pause_is_not_as_old_as_the_one_before_it(journal: Journal, place: ConsolePlace) -> None:
    event = pb.Event(event_id="of-yesterday")
    event.happened_at.FromSeconds(int(time.time()) - 86_400)
    await journal.append(event.SerializeToString())
    async with shipping(journal, replace(settings_for(place), linger_s=FOR_EVER_S)) as shipper:
        await until(shipper, delivered)
        await append_events(journal, "of now")
        state = await until(shipper, lambda state: state.backlog_s < 3600)
    assert (state.backlog_records, place.applied) == (1, ["of-yesterday"])


@pytest.mark.parametrize(("seconds", "nanos"), [(2**62, 0), (-(2**62), 0), (0, -1)])
async def test_an_event_of_no_moment_is_for_the_console_to_judge(
    journal: Journal, place: ConsolePlace, seconds: int, nanos: int
) -> None:
    event = pb.Event(event_id="event-0")
    event.happened_at.seconds, event.happened_at.nanos = seconds, nanos
    await journal.append(event.SerializeToString())
    await append_events(journal, "event-1")
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, delivered)
    assert place.applied == names(2)


async def test_delivery_goes_on_where_a_stopped_one_ended(journal: Journal, place: ConsolePlace) -> None:
    await append_events(journal, *names(100))
    rounds = 0
    while journal.cursor <= 100:
        rounds += 1
        async with shipping(journal, settings_for(place)) as shipper:
            before = shipper.state().backlog_records
            await until(shipper, partial(shrank, before=before))
    assert rounds > 1
    assert place.applied == names(100)
