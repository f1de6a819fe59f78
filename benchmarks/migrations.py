"""How long people wait while the console's tables change: `amulet bench migrations --rows 1000000`.

A database on a real PostgreSQL is filled by `history`, taken back to where every app began, and brought forward
again, one migration after the other and each by the command that an operator types. Meanwhile one connection reads
from every large table in turn and another one asks for what a writer needs of it; the longest wait of each counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from threading import Event, Thread
from typing import Any, Final

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
from psycopg2 import sql

from benchmarks.console_rows import SERVER, databases, prepare, settle
from benchmarks.machine import busy_ratio, cpu_ticks, machine
from benchmarks.systems import ROOT

WAIT_S_MAX: Final = 1.0
FIRST: Final = "0001_initial"
STATEMENTS: Final = {
    "read": sql.SQL("SELECT 1 FROM {} LIMIT 1"),
    # What an INSERT or an UPDATE waits for, and nothing of what it costs; some tables let nobody update.
    "write": sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE"),
}
_PAUSE_S: Final = 0.002  # between two looks


@dataclass
class Waits:
    """The longest wait so far, in seconds, and at which table."""

    longest_s: float = 0.0
    table: str = ""
    looks: int = 0
    failed: list[str] = field(default_factory=list)  # what was said to somebody who asked


def measure(
    rows: int,
    *,
    server: str = SERVER,
    apps: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Fill, go back, come forward, drop. apps: whose migrations; none named, all.

    Raises ServerRefused when there is no such server, ValueError for an app without later migrations.
    """
    described, ticks = machine(), cpu_ticks()
    with databases(server, ("migrated",)) as names:
        name = names["migrated"]
        prepare(server, name)
        steps = _of(apps)
        filled = settle(name, rows, tell).filled
        url, tables = f"{server}/{name}", large_tables()
        cases: dict[str, dict[str, Any]] = {}
        with moved_back(url, steps, tell):
            for app, migration in steps:
                tell(f"{app} {migration}")
                # An app that leans on what went back went with it: nobody can read its tables yet.
                cases[f"{app} {migration}"] = watched(url, present(url, tables), app, migration)
    return {
        "machine": {**described, "busy_ratio": busy_ratio(ticks, cpu_ticks())},
        "settings": {"database": "postgresql", "predictions": filled.predictions, "tables": tables},
        "systems": {"amulet": cases},
        "ratios": {},
        "missed": [
            f"{case}: {who} waited {row[f'{who}_wait_s']:.2f} s for {row[f'{who}_table']}, at most {WAIT_S_MAX:.0f}"
            for case, row in cases.items()
            for who in ("read", "write")
            if row[f"{who}_wait_s"] > WAIT_S_MAX
        ],
    }


def table(found: Mapping[str, Any]) -> str:
    """As a person reads it."""
    lines = [f"{'migration':<44}{'took s':>9}{'read waited s':>15}{'write waited s':>16}"]
    lines += [
        f"{case:<44}{row['took_s']:>9.1f}{row['read_wait_s']:>15.3f}{row['write_wait_s']:>16.3f}"
        for case, row in found["systems"]["amulet"].items()
    ]
    lines += ["Beyond the limit:", *(f"  {each}" for each in found["missed"] or ["nothing"])]
    return "\n".join(lines) + "\n"


def later_migrations() -> list[tuple[str, str]]:
    """Every migration of ours but the first of each app, in the order in which they are applied."""
    from django.apps import apps
    from django.db.migrations.loader import MigrationLoader

    graph = MigrationLoader(None).graph
    ours = {config.label for config in apps.get_app_configs() if config.name.startswith("console.")}
    order: dict[tuple[str, str], None] = {}
    for leaf in sorted(graph.leaf_nodes()):
        order |= dict.fromkeys(graph.forwards_plan(leaf))
    return [(app, name) for app, name in order if app in ours and name != FIRST]


def _of(apps: Collection[str]) -> list[tuple[str, str]]:
    steps = later_migrations()
    known = sorted({app for app, _ in steps})
    for app in apps:
        if app not in known:
            raise ValueError(f"{app} has no migration after its first; these have: {', '.join(known)}")
    return [step for step in steps if not apps or step[0] in apps]


def large_tables() -> list[str]:
    """The tables whose rows come with traffic."""
    from benchmarks.history import TABLES

    return list(TABLES)


def present(url: str, tables: list[str]) -> list[str]:
    """Those that the database has now."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname = ANY(%s)", [tables])
        return sorted(row[0] for row in cursor.fetchall())


@contextmanager
def moved_back(url: str, steps: list[tuple[str, str]], tell: Callable[[str], None]) -> Iterator[None]:
    """The database as it was before all of these migrations. Their way back is tried on every row of it.

    One command takes back what follows on each other in one app: nobody waits meanwhile who is measured.
    """
    for app, run in groupby(reversed(steps), key=itemgetter(0)):
        *_, (_, migration) = run
        tell(f"back before {app} {migration}")
        migrate(url, app, before(app, migration))
    yield


def before(app: str, migration: str) -> str:
    """The name of the migration of this app that comes before."""
    from django.db.migrations.loader import MigrationLoader

    nodes = MigrationLoader(None).graph.nodes[app, migration].dependencies
    (name,) = {name for label, name in nodes if label == app}
    return str(name)


def watched(url: str, tables: list[str], app: str, migration: str) -> dict[str, Any]:
    """Apply one migration while two others ask for each table; seconds, and the longest wait of either."""
    over = Event()
    waits = {"read": Waits(), "write": Waits()}
    threads = [Thread(target=ask, args=(url, tables, STATEMENTS[who], waits[who], over)) for who in waits]
    for thread in threads:
        thread.start()
    try:
        began_s = time.perf_counter()
        migrate(url, app, migration)
        took_s = time.perf_counter() - began_s
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return {
        "took_s": took_s,
        **{
            f"{who}_{figure}": value
            for who, found in waits.items()
            for figure, value in (
                ("wait_s", found.longest_s), ("table", found.table), ("looks", found.looks), ("failed", found.failed),
            )
        },
    }  # fmt: skip


def migrate(url: str, app: str, migration: str) -> None:
    """As an operator does it. Raises RuntimeError with what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "console.manage", "migrate", app, migration, "--noinput", "--skip-checks"],
        env={**os.environ, "AMULET_DATABASE_URL": url}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"migrate {app} {migration}: {done.stdout[-500:]} {done.stderr[-2000:]}")


def ask(url: str, tables: list[str], statement: sql.SQL, waits: Waits, over: Event) -> None:
    """Ask for one table after the other until it is over."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            while not over.is_set():
                for name in tables:
                    began_s = time.perf_counter()
                    try:
                        cursor.execute(statement.format(sql.Identifier(name)))
                    except psycopg2.Error as error:
                        said = f"{name}: {' '.join(str(error).split())}"
                        waits.failed += [said] if said not in waits.failed else []
                    connection.rollback()
                    waited_s = time.perf_counter() - began_s
                    waits.looks += 1
                    if waited_s > waits.longest_s:
                        waits.longest_s, waits.table = waited_s, name
                over.wait(_PAUSE_S)
    finally:
        connection.close()
