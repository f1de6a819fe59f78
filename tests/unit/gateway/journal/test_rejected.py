"""What the console refuses for good, and what is no event: kept aside beside the journal, once, and counted."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from gateway.journal.journal import Journal
from gateway.journal.shipper import Shipper
from gateway.journal.writer import JournalSettings
from protos.amulet.events.v1 import events_pb2 as pb
from tests.fault.console_place import ConsolePlace
from tests.unit.gateway.journal.delivery import append_events, delivered, names, settings_for, shipping, until


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


async def test_what_is_no_event_is_kept_aside_without_asking_the_console(journal: Journal, place: ConsolePlace) -> None:
    place.behave("500")
    await journal.append(b"\xff\xff no event")
    async with shipping(journal, settings_for(place)) as shipper:
        state = await until(shipper, lambda state: delivered(state) or state.failures > 0)
    assert (state.rejected, state.delivered, state.failures) == (1, 0, 0)
