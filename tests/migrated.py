"""A console's tables and collected files, made once in each process of tests and copied to every console in it.

The commands that make them are an operator's, and what they make is the same for every console: it holds no key and
no name. On PostgreSQL the copy is a database made from a template, in SQLite a file.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
from psycopg2 import sql

from cli import supervision
from cli.layout import Layout, Ports
from tests.console_ready import new_state

ROOT: Final = Path(__file__).parents[1]
_SERVER: Final = {"host": "127.0.0.1", "port": 5432, "user": "postgres"}
_URL: Final = "AMULET_DATABASE_URL"
_copies: set[str] = set()  # URLs of databases that were made from the template


def give_tables(layout: Layout, environment: Mapping[str, str]) -> None:
    """Every table, in the console's database as this environment names it. Nothing for a copy, which has them."""
    url = environment.get(_URL, "")
    file = layout.console / "db.sqlite3"
    if url in _copies:
        return
    if url or file.exists():
        _manage(environment, "migrate", "--noinput")
        return
    with closing(sqlite3.connect(_state().console / file.name)) as made, closing(sqlite3.connect(file)) as copy:
        made.backup(copy)


def give_files(layout: Layout) -> None:
    """What the web process serves beside its pages."""
    shutil.copytree(_files(), layout.console / "static", dirs_exist_ok=True)


@contextmanager
def database() -> Iterator[str]:
    """The URL of a PostgreSQL database of its own, with every table and no row."""
    with closing(connected()) as connection:
        name = _new_name()
        _run(connection, "CREATE DATABASE {} TEMPLATE {}", name, _template())
        url = _url(name)
        _copies.add(url)
        try:
            yield url
        finally:
            _copies.discard(url)
            _run(connection, "DROP DATABASE {} WITH (FORCE)", name)


def connected() -> Any:
    """A connection to the server, each of whose statements counts at once. Raises OperationalError."""
    connection = psycopg2.connect(dbname="postgres", connect_timeout=3, **_SERVER)
    connection.autocommit = True
    return connection


@cache
def _state() -> Layout:
    """A state folder whose SQLite database has every table."""
    folder = Path(tempfile.mkdtemp(prefix="amulet-test-migrated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    layout = Layout(new_state(folder / "state"), Ports(0))
    _manage(_environment(layout), "migrate", "--noinput")
    return layout


@cache
def _files() -> Path:
    layout = _state()
    _manage(_environment(layout), "collectstatic", "--noinput")
    return layout.console / "static"


@cache
def _template() -> str:
    """The name of a database with every table, which nobody is connected to."""
    name = _new_name()
    with closing(connected()) as connection:
        _run(connection, "CREATE DATABASE {}", name)
    atexit.register(_drop, name)
    _manage(_environment(_state()) | {_URL: _url(name)}, "migrate", "--noinput")
    return name


def _drop(name: str) -> None:
    with closing(connected()) as connection:
        _run(connection, "DROP DATABASE {} WITH (FORCE)", name)


def _environment(layout: Layout) -> dict[str, str]:
    """Of a console with every default."""
    return supervision.environment(
        layout, {name: os.environ[name] for name in supervision.INHERITED if name in os.environ}
    )


def _manage(environment: Mapping[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "console.manage", *arguments],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def _new_name() -> str:
    return f"amulet_test_{SystemRandom().getrandbits(48):012x}"


def _url(name: str) -> str:
    return f"postgresql://{_SERVER['user']}@{_SERVER['host']}:{_SERVER['port']}/{name}"


def _run(connection: Any, statement: str, *names: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
