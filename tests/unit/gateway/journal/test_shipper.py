"""Delivery against a real HTTP server process that stands where the console is."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from gateway.journal.format import FRAME_HEADER_BYTES, HEADER_BYTES
from gateway.journal.journal import Journal
from gateway.journal.shipper import Shipper, ShipperSettings, ShipperState
from gateway.journal.writer import JournalSettings
from protos.amulet.events.v1 import events_pb2 as pb
from tests.fault.console_place import ConsolePlace
from tests.unit.gateway.journal.disk import frame_starts, refusing, segment_bytes, write_segment

WAIT_S = 30.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[ConsolePlace]:
    place = ConsolePlace(tmp_path / "console")
    place.start()
    yield place
    place.kill()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = await Journal.open(JournalSettings(tmp_path / "journal", free_bytes_min=0, segment_bytes_max=4000))
    yield journal
    await journal.close()


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


async def until(shipper: Shipper, holds: Callable[[ShipperState], bool]) -> ShipperState:
    async with asyncio.timeout(WAIT_S):
        while True:
            if holds(state := shipper.state()):
                return state
            await asyncio.sleep(0.01)


def delivered(state: ShipperState) -> bool:
    return state.backlog_records == 0


def shrank(state: ShipperState, *, before: int) -> bool:
    return state.backlog_records < before


PHOTOGRAPH_BYTES = 92_000  # of an event with one kept photograph; a batch of a megabyte has eleven


async def append_photographs(journal: Journal, *names: str) -> None:
    await append_events(journal, *names, photograph=random.Random(1).randbytes(PHOTOGRAPH_BYTES))


async def append_events(journal: Journal, *names: str, photograph: bytes = b"") -> None:
    events = [pb.Event(event_id=name) for name in names]
    for event in events if photograph else ():
        event.prediction.views.add().photo.ciphertext = photograph
    for event in events:
        event.happened_at.GetCurrentTime()
    await asyncio.gather(*(journal.append(event.SerializeToString()) for event in events))


def names(count: int, *, first: int = 0) -> list[str]:
    return [f"event-{number}" for number in range(first, first + count)]


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


FOR_EVER_S = 3600.0


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


async def test_rejected_events_are_kept_aside_with_the_reason_and_counted_once(
    journal: Journal, place: ConsolePlace, tmp_path: Path
) -> None:
    place.behave("reject event-3 event-5")
    await append_events(journal, *names(4))
    await journal.append(b"\xff\xff no event")
    await append_events(journal, *names(4, first=4))
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, delivered)
    assert (state.rejected, state.delivered) == (3, 6)
    assert place.applied == ["event-0", "event-1", "event-2", "event-4", "event-6", "event-7"]
    kept = [
        json.loads(line)
        for file in sorted((tmp_path / "journal" / "rejected").iterdir())
        for line in file.read_text().splitlines()
    ]
    assert {(event["sequence"], event["event_id"], event["why"]) for event in kept} == {
        (4, "event-3", "refused by the test"),
        (5, "", "the record is no event"),
        (7, "event-5", "refused by the test"),
    }
    assert pb.Event.FromString(base64.b64decode(kept[-1]["event"])).event_id == "event-5"
    (tmp_path / "journal" / "cursor").unlink()
    assert Shipper(journal, settings_for(place)).state().rejected == 3


async def test_rejected_events_that_share_an_id_are_all_kept_aside(
    journal: Journal, place: ConsolePlace, tmp_path: Path
) -> None:
    """As events without one: the console cannot tell them apart, and the journal is about to delete them."""
    place.behave("reject twin")
    await append_events(journal, "twin", "event-1", "twin")
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, delivered)
    (file,) = (tmp_path / "journal" / "rejected").iterdir()
    kept = [json.loads(line)["sequence"] for line in file.read_text().splitlines()]
    assert (kept, state.rejected, state.delivered, place.applied) == ([1, 3], 2, 1, ["event-1"])


async def test_rejected_events_that_cannot_be_kept_are_sent_again_and_nothing_is_counted_twice(
    journal: Journal, place: ConsolePlace, tmp_path: Path
) -> None:
    place.behave("reject event-1")
    in_the_way = tmp_path / "journal" / "rejected"
    in_the_way.write_text("no folder")
    await append_events(journal, *names(3))
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, lambda state: state.failures >= 3)
        assert (state.rejected, journal.cursor <= 2) == (0, True)
        assert state.sentence == (
            f"1 event(s) that the console refuses for good cannot be kept aside in {in_the_way} (File exists): "
            "make room there, or make it a folder to write to"
        )
        in_the_way.unlink()
        state = await until(shipper, delivered)
    assert (state.rejected, state.delivered, state.known_before) == (1, 2, 2)
    assert place.applied == ["event-0", "event-2"]


async def test_a_note_beside_rejected_events_is_none_of_them(
    journal: Journal, place: ConsolePlace, tmp_path: Path
) -> None:
    folder = tmp_path / "journal" / "rejected"
    folder.mkdir()
    (folder / "00000000000000000001.jsonl").write_text("{}\n")
    (folder / "00000000000000000042-seen.jsonl").write_text("{}\n{}\n")

    assert Shipper(journal, settings_for(place)).state().rejected == 1


async def test_rejected_events_of_an_interrupted_delivery_are_not_kept_twice(
    tmp_path: Path, place: ConsolePlace
) -> None:
    place.behave("reject event-1")
    settings = JournalSettings(tmp_path / "twice", free_bytes_min=0)
    for sent in (names(3), []):
        journal = await Journal.open(settings)
        await append_events(journal, *sent)
        async with shipping(journal, settings_for(place)) as shipper:
            assert (await until(shipper, delivered)).rejected == 1
        await journal.close()
        (settings.folder / "cursor").unlink()  # as if the crash had come before it was written


async def test_an_event_refused_after_cursor_and_segments_were_taken_away_is_kept_beside_the_older_ones(
    tmp_path: Path, place: ConsolePlace
) -> None:
    place.behave("reject event-1 event-3")
    settings = JournalSettings(tmp_path / "bare", free_bytes_min=0)
    for sent in (names(2), names(2, first=2)):
        journal = await Journal.open(settings)
        await append_events(journal, *sent)
        async with shipping(journal, settings_for(place)) as shipper:
            rejected = (await until(shipper, delivered)).rejected
        await journal.close()
        (settings.folder / "cursor").unlink()
        for segment in settings.folder.glob("*.journal"):
            segment.unlink()

    assert rejected == 2
    kept = "".join(file.read_text() for file in (settings.folder / "rejected").iterdir())
    assert ("event-1" in kept, "event-3" in kept) == (True, True)


async def test_rejected_events_whose_file_was_taken_away_are_counted_no_longer(
    journal: Journal, place: ConsolePlace, tmp_path: Path
) -> None:
    place.behave("reject event-1 event-9")
    async with shipping(journal, settings_for(place)) as shipper:
        await append_events(journal, *names(2))
        await until(shipper, lambda state: state.rejected == 1)
        (dealt_with,) = (tmp_path / "journal" / "rejected").iterdir()
        await append_events(journal, *names(2, first=8))
        await until(shipper, lambda state: state.rejected == 2)

        dealt_with.rename(tmp_path / dealt_with.name)

        await until(shipper, lambda state: state.rejected == 1)


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


async def test_what_is_no_event_is_kept_aside_without_asking_the_console(journal: Journal, place: ConsolePlace) -> None:
    place.behave("500")
    await journal.append(b"\xff\xff no event")
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, lambda state: delivered(state) or state.failures > 0)
    assert (state.rejected, state.delivered, state.failures) == (1, 0, 0)


def stored(name: str) -> bytes:
    event = pb.Event(event_id=name)
    event.happened_at.GetCurrentTime()
    return event.SerializeToString()


async def test_a_damaged_end_is_passed_over_and_not_waited_for(tmp_path: Path, place: ConsolePlace) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    write_segment(folder, segment_bytes([[stored(name)] for name in names(3)], sealed=True))
    harmed = bytearray(segment_bytes([[stored("lost")]], first=4, sealed=True))
    harmed[frame_starts([[stored("lost")]])[0] + FRAME_HEADER_BYTES] ^= 0xFF
    write_segment(folder, bytes(harmed), first=4)
    journal = await Journal.open(JournalSettings(folder, free_bytes_min=0))
    whole_segment = replace(settings_for(place), batch_records_max=3)
    async with shipping(journal, whole_segment) as shipper:
        state = await until(shipper, lambda state: delivered(state) or state.failures > 0)
        assert (state.failures, state.delivering, journal.cursor) == (0, True, journal.durable_end)
        await append_events(journal, "after")
        await until(shipper, delivered)
    assert place.applied == [*names(3), "after"]
    await journal.close()


async def test_events_that_cannot_be_read_yet_are_told_of(journal: Journal, place: ConsolePlace) -> None:
    """Nothing behind them says that they are lost: what is written next will."""
    await append_events(journal, "harmed")
    path = journal.segments()[0].path
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + FRAME_HEADER_BYTES] ^= 0xFF
    path.write_bytes(content)
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, lambda state: state.failures > 0 or delivered(state))
    assert (state.delivering, state.backlog_records) == (False, 1)
    assert state.sentence == "the oldest events of the journal cannot be read"


async def test_segments_that_could_not_be_deleted_go_later_and_hold_nothing_up(
    journal: Journal, place: ConsolePlace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def segments() -> int:
        return len(list((tmp_path / "journal").glob("*.journal")))

    await append_events(journal, *names(299))
    await append_events(journal, "event-299")
    assert segments() == 2
    with caplog.at_level("WARNING"), keeping_files() as tries:
        async with shipping(journal, settings_for(place)) as shipper:
            await until(shipper, lambda state: delivered(state) and tries[0] >= 3)
            assert segments() == 2
            await append_events(journal, "after")
            await until(shipper, delivered)
    assert "delivered segments cannot be deleted" in caplog.text
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, lambda _: segments() == 1)
    assert place.applied == [*names(300), "after"]


@contextmanager
def keeping_files() -> Iterator[list[int]]:
    """The disk deletes no file. Gives how often it was asked to."""
    tries, give = [0], os.unlink

    def unlink(*args: object, **kwargs: object) -> None:
        tries[0] += 1
        raise PermissionError("this disk keeps what it has")

    os.unlink = unlink
    try:
        yield tries
    finally:
        os.unlink = give


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
    await journal.append(event.SerializeToString())
    async with shipping(journal, settings_for(place)) as shipper:
        seen_s = time.monotonic()
        await until(shipper, lambda state: state.failures > 0)
        state = await until(shipper, lambda state: state.backlog_s > 0.1)
        assert state.backlog_s <= time.monotonic() - seen_s + 0.1


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


@pytest.mark.parametrize("before", [0, 200])
async def test_a_disk_that_refuses_holds_delivery_up_and_says_so_until_it_gives(
    journal: Journal, place: ConsolePlace, before: int
) -> None:
    await append_events(journal, *names(before))
    await append_events(journal, *names(300 - before, first=before))
    path = journal.segments()[-1].path if before else journal.segments()[0].path
    with refusing(path, range(2**20)):
        async with shipping(journal, settings_for(place)) as shipper:
            state = await until(shipper, lambda state: state.failures >= 5)
            assert f"Input/output error: '{path}'" in state.sentence
            assert (place.applied, state.backlog_records) == (names(before), 300 - before)
            assert state.backlog_s > 0
            assert journal.health().findings == ()
    async with shipping(journal, settings_for(place)) as shipper:
        assert (await until(shipper, delivered)).delivering
    assert place.applied == names(300)


async def test_a_segment_that_was_refused_at_the_start_goes_when_it_is_delivered(
    tmp_path: Path, place: ConsolePlace
) -> None:
    settings = JournalSettings(tmp_path / "journal", free_bytes_min=0)
    journal = await Journal.open(settings)
    await append_events(journal, *names(300))
    await journal.close()
    path = tmp_path / "journal" / f"{1:020d}.journal"
    with refusing(path, range(4096, 2**20)):
        journal = await Journal.open(settings)
    async with shipping(journal, settings_for(place)) as shipper:
        await until(shipper, delivered)
    assert place.applied == names(300)
    assert (journal.cursor, path.exists()) == (journal.durable_end, False)
    assert journal.health().sentence == "every answer is on disk before it leaves"
    await journal.close()
