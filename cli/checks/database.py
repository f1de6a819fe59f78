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


def file_of(layout: Layout, url: str) -> Path:
    """The file of an embedded database."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)[1:]) if parts.scheme else layout.console / "db.sqlite3"


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
    file = file_of(layout, url)
    if not file.exists():
        raise Unasked
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=5.0)) as connection:
            return connection.execute(statement).fetchall()
    except sqlite3.Error as error:
        raise Unasked from error
