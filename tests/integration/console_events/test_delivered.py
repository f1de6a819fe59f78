"""A database that was brought back from a backup, beside the journal of now, whose cursor is ahead of it."""

from __future__ import annotations

from pathlib import Path

from cli.checks.delivery import delivery
from gateway.journal.cursor import CURSOR_NAME, write_cursor
from gateway.journal.journal import Journal
from gateway.journal.reader import Reader
from gateway.journal.rejected import RejectedEvent, RejectedEvents
from gateway.journal.writer import JournalSettings
from protos.amulet.events.v1 import events_pb2 as pb
from protos.environment import PREFIX
from tests.console_events import prediction_event
from tests.integration.console_events.processes import Crew


def ship(crew: Crew, file: Path, events: list[pb.Event]) -> None:
    file.write_bytes(pb.EventBatch(events=events).SerializeToString())
    crew.run([("ship", {"seed": 1, "events": str(file), "times": 1, "batch_max": 500})])


async def test_what_counts_as_delivered_and_is_not_in_the_database_is_found_and_delivered_again(
    crew: Crew, tmp_path: Path
) -> None:
    journal = await Journal.open(JournalSettings(tmp_path / "journal", free_bytes_min=0))
    events = [prediction_event() for _ in range(6)]
    for event in events:
        await journal.append(event.SerializeToString())
    journal.advance(6)  # the last one waits for the console
    await journal.close()
    outer = {name: value for name, value in crew.environment.items() if name.startswith(PREFIX)}
    outer[f"{PREFIX}JOURNAL_DIR"] = str(journal.folder)
    ship(crew, tmp_path / "events", events[:3])

    found = delivery(crew.layout, outer)

    assert not found.ok
    assert found.found.startswith("the database lacks 2 of the newest 5 events that count as delivered")
    assert str(journal.folder / CURSOR_NAME) in found.mend

    # What the console refused for good is in no database, and nothing is behind for it.
    rejected = RejectedEvent(4, events[3].event_id, "unknown client", events[3].SerializeToString())
    RejectedEvents(journal.folder).keep([rejected])
    assert delivery(crew.layout, outer).found.startswith("the database lacks 1 of the newest 5 events")

    # As the way out says.
    (journal.folder / CURSOR_NAME).unlink()
    assert delivery(crew.layout, outer).ok
    journal = await Journal.open(JournalSettings(journal.folder, free_bytes_min=0))
    again = Reader(journal).read(bytes_max=2**20, records_max=100)
    assert [pb.Event.FromString(record.content).event_id for record in again] == [each.event_id for each in events]
    await journal.close()
    ship(crew, tmp_path / "events", events)
    write_cursor(journal.folder, 7)

    found = delivery(crew.layout, outer)

    assert (found.ok, found.found) == (True, "the database has the newest 6 events that the journal still keeps")
    assert crew.count("audit_entry WHERE type = 'prediction.made'") >= 6


async def test_a_journal_of_which_nothing_is_delivered_or_kept_is_no_matter(crew: Crew, tmp_path: Path) -> None:
    outer = {name: value for name, value in crew.environment.items() if name.startswith(PREFIX)}
    outer[f"{PREFIX}JOURNAL_DIR"] = str(tmp_path / "none")

    assert delivery(crew.layout, outer).ok
