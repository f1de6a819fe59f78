"""Many rows into a table with few statements, past the ORM's cost for each object: ingest has 200 µs for an event."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Final
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import Model

_ROWS_PER_STATEMENT: Final = 1000
_VALUES_PER_STATEMENT: Final = 16_000  # SQLite takes 32,766
_COPY_BYTES: Final = 1 << 20


def insert_rows(model: type[Model], columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows in order, inside the caller's transaction. columns: as the database names them.

    Values are plain, times, UUIDs, members of enumerations or JSON objects; columns left out have no
    default in the database. Raises IntegrityError, DataError.
    """
    if connection.vendor == "postgresql":
        _copy(model, columns, rows)
    else:
        insert_unless_there(model, columns, rows, otherwise="")


def insert_unless_there(
    model: type[Model], columns: Sequence[str], rows: Sequence[tuple[Any, ...]], *, otherwise: str
) -> list[tuple[Any, ...]]:
    """Insert rows as `insert_rows` does; `otherwise` is the statement's end, ON CONFLICT … RETURNING ….

    Returns the rows that the statement returns, as the driver gives them.
    """
    placeholders = f"({', '.join(['%s'] * len(columns))})"
    into = f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) VALUES "  # noqa: S608 - names of ours
    adapted = _adapters(connection.vendor)
    at_once = min(_ROWS_PER_STATEMENT, _VALUES_PER_STATEMENT // len(columns))
    returned: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            values = [
                adapt(value) if (adapt := adapted.get(type(value))) is not None else _plain(value)
                for row in part
                for value in row
            ]
            cursor.execute(f"{into}{', '.join([placeholders] * len(part))} {otherwise}", values)
            if cursor.description is not None:
                returned += cursor.fetchall()
    return returned


def _copy(model: type[Model], columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """COPY: the server parses and plans nothing for a row, and no literal is quoted for it."""
    lines = "\n".join(["\t".join([_COPIED.get(type(value), _copied)(value) for value in row]) for row in rows])
    into = f"COPY {model._meta.db_table} ({', '.join(columns)}) FROM STDIN"
    # Django's cursor wraps the errors of `execute` and not of this.
    with connection.cursor() as cursor, connection.wrap_database_errors:
        cursor.copy_expert(into, io.StringIO(lines), _COPY_BYTES)


def _json(document: dict[str, Any]) -> str:
    return orjson.dumps(document).decode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _copied(value: Any) -> str:
    return _escaped(str(_plain(value)))


# PostgreSQL's text format of COPY, by the types that there are many of.
_COPIED: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _: "\\N",
    bool: lambda value: "t" if value else "f",
    str: _escaped,
    int: str,
    float: repr,
    bytes: lambda value: "\\\\x" + value.hex(),
    UUID: str,
    dict: lambda value: _json(value).replace("\\", "\\\\"),  # JSON has no bare control characters
}


@cache
def _adapters(vendor: str) -> dict[type, Callable[[Any], Any]]:
    """How a statement wants the types that its driver does not know by itself, or knows slowly."""
    found: dict[type, Callable[[Any], Any]] = {dict: _json, UUID: str}
    if vendor != "postgresql":
        found[datetime] = connection.ops.adapt_datetimefield_value
        found[UUID] = lambda value: value.hex
    return found


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
