"""Many rows into a table with few statements, past the ORM's cost for each object: ingest has 200 µs for an event."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import Model

_ROWS_PER_STATEMENT: Final = 1000


def insert_rows(model: type[Model], columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows in order, inside the caller's transaction. columns: as the database names them.

    Values are plain, times, UUIDs or JSON objects; columns left out have no default in the
    database. Raises IntegrityError, DataError.
    """
    placeholders = f"({', '.join(['%s'] * len(columns))})"
    into = f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) VALUES "  # noqa: S608 - names of ours
    adapted = _adapters()
    with connection.cursor() as cursor:
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            part = rows[start : start + _ROWS_PER_STATEMENT]
            values = [
                adapt(value) if (adapt := adapted.get(type(value))) is not None else value
                for row in part
                for value in row
            ]
            cursor.execute(into + ", ".join([placeholders] * len(part)), values)


def _adapters() -> dict[type, Callable[[Any], Any]]:
    """How this database wants the types that its driver does not know by itself."""
    found: dict[type, Callable[[Any], Any]] = {dict: json.dumps}
    if connection.vendor != "postgresql":
        found[datetime] = connection.ops.adapt_datetimefield_value
    if not connection.features.has_native_uuid_field:
        found[UUID] = lambda value: value.hex
    return found
