"""What a check reads in the console's database, which it never changes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from cli.checks.servers import postgresql
from cli.layout import Layout


class Unasked(Exception):
    """The database could not be asked."""


def embedded(layout: Layout, url: str) -> Path | None:
    """The file of SQLite that `AMULET_DATABASE_URL` chooses, or its absence; None where it names a server."""
    parts = urlsplit(url)
    if not parts.scheme:
        return layout.console / "db.sqlite3"
    # One by a relative path is refused among the settings.
    return Path(unquote(parts.path)[1:]) if parts.scheme == "sqlite" and parts.path.startswith("//") else None


def read(layout: Layout, url: str, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement that both kinds of database take. Raises Unasked where it is away or has no tables."""
    if urlsplit(url).scheme == "postgresql":
        import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own

        try:
            with closing(postgresql(url)) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())
        except psycopg2.Error as error:
            raise Unasked from error
    file = embedded(layout, url)
    if file is None or not file.exists():
        raise Unasked
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=5.0)) as connection:
            return connection.execute(statement).fetchall()
    except sqlite3.Error as error:
        raise Unasked from error
