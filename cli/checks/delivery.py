"""Whether the database has what the journal counts as delivered: one that was brought back from a backup lacks some."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit
from uuid import UUID

from google.protobuf.message import DecodeError

from cli import supervision
from cli.checks.database import Unasked, embedded
from cli.checks.finding import Finding, right, wrong
from cli.checks.servers import postgresql
from cli.layout import Layout
from gateway.journal.cursor import CURSOR_NAME, read_cursor
from gateway.journal.errors import JournalError
from gateway.journal.format import sequence_in_name
from gateway.journal.refusals import everything
from gateway.journal.rejected import REJECTED_FOLDER
from gateway.journal.segment import Frame, header_sequence, read_segment
from protos.amulet.events.v1 import events_pb2 as pb
from protos.environment import PREFIX

EVENTS_MAX: Final = 500  # the newest: where a database is behind, it lacks these first


def delivery(layout: Layout, outer: Mapping[str, str]) -> Finding:
    """Looks at the newest events that are delivered and still kept. Changes nothing."""
    resolved = supervision.environment(layout, outer)
    folder = Path(resolved[f"{PREFIX}JOURNAL_DIR"])
    try:
        events = _delivered(folder)
        known = _known(layout, resolved.get(f"{PREFIX}DATABASE_URL", ""), events) if events else set()
        missing = set(events) - known - _rejected(folder)
    except (OSError, JournalError, Unasked):  # said by the checks of folder, database and server
        return right("delivery", "cannot be compared: the journal or the database cannot be read")
    if not missing:
        return right("delivery", f"the database has the newest {len(events)} events that the journal still keeps")
    return wrong(
        "delivery",
        f"the database lacks {len(missing)} of the newest {len(events)} events that count as delivered: it is older "
        f"than the journal in {folder}",
        f"`amulet down`, then `amulet up` delivers again what the journal still keeps (elsewhere: stop the gateway, "
        f"remove {folder / CURSOR_NAME}, start it)",
    )


def _delivered(folder: Path) -> tuple[UUID, ...]:
    """The newest events before the cursor, at most EVENTS_MAX. Raises OSError, JournalError."""
    if not (folder / CURSOR_NAME).exists():
        return ()
    cursor = read_cursor(folder)
    named = sorted((in_name, path) for path in folder.iterdir() if (in_name := sequence_in_name(path)) is not None)
    found: deque[UUID] = deque(maxlen=EVENTS_MAX)
    for in_name, path in named[-2:]:  # the newest may hold none that is delivered
        if in_name < cursor:
            found.extend(_events(path, in_name, before=cursor))
    return tuple(found)


def _events(path: Path, in_name: int, *, before: int) -> Iterator[UUID]:
    try:
        first = header_sequence(path) or in_name
        for piece in read_segment(path, expected=first, forgo=everything):
            if isinstance(piece, Frame) and not piece.is_seal:
                if piece.sequence >= before:
                    return
                try:
                    yield UUID(pb.Event.FromString(piece.record).event_id)
                except (DecodeError, ValueError):  # it was refused as no event
                    continue
    except FileNotFoundError:  # a gateway that runs deletes what is done with
        return


def _rejected(folder: Path) -> set[UUID]:
    """Events that the console refused are delivered, and in no database."""
    found = set()
    for file in sorted((folder / REJECTED_FOLDER).glob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            try:
                content = base64.b64decode(json.loads(line)["event"])
                found.add(UUID(pb.Event.FromString(content).event_id))
            except (ValueError, KeyError, TypeError, DecodeError):
                continue
    return found


def _known(layout: Layout, url: str, events: Sequence[UUID]) -> set[UUID]:
    """Those of them that the database has. Raises Unasked."""
    if urlsplit(url).scheme == "postgresql":
        return _in_postgresql(url, events)
    return _in_file(embedded(layout, url), events)


def _in_postgresql(url: str, events: Sequence[UUID]) -> set[UUID]:
    import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own

    try:
        with closing(postgresql(url)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(
                "SELECT event_id::text FROM ingest_appliedevent WHERE event_id = ANY(%s::uuid[])",
                ([str(event) for event in events],),
            )
            return {UUID(value) for (value,) in cursor.fetchall()}
    except psycopg2.Error as error:  # it is away, or has no tables yet
        raise Unasked from error


def _in_file(file: Path | None, events: Sequence[UUID]) -> set[UUID]:
    if file is None or not file.exists():
        raise Unasked
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=5.0)) as connection:
            found = connection.execute(
                "SELECT event_id FROM ingest_appliedevent WHERE event_id IN (SELECT value FROM json_each(?))",
                (json.dumps([event.hex for event in events]),),
            )
            return {UUID(value) for (value,) in found}
    except sqlite3.Error as error:
        raise Unasked from error
