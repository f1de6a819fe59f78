"""The measurement of waits while tables change: it goes back and forward, and a lock that is held is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own

from benchmarks.migrations import STATEMENTS, Waits, ask
from tests.integration.console.running import postgresql, until

ROOT = Path(__file__).parents[2]


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "bench", "migrations", "--rows", "1000", *options],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_each_migration_of_an_app_is_measured_both_ways(tmp_path: Path) -> None:
    with postgresql():  # skips where there is no server
        out = tmp_path / "migrations.json"
        done = bench("--app", "review", "--json", str(out))
    assert done.returncode in (0, 1), done.stderr[-3000:]  # 1: on a machine so busy that somebody waited for a second
    found = json.loads(out.read_text())
    cases = found["systems"]["amulet"]
    assert {"review 0002_lists_by_age", "review 0003_blind_and_double", "review 0005_constraints_unblocked"} <= set(
        cases
    )
    assert all(row["read_looks"] and row["write_looks"] for row in cases.values())
    assert not any(row["read_failed"] or row["write_failed"] for row in cases.values())
    assert bool(found["missed"]) == bool(done.returncode)


def test_an_app_that_there_is_not_is_said() -> None:
    with postgresql():
        done = bench("--app", "reviews")
    assert done.returncode == 2
    assert "reviews has no migration after its first; these have: audit, clients" in done.stderr


def test_who_waits_for_a_lock_is_seen() -> None:
    with postgresql() as variables:
        url = variables["AMULET_DATABASE_URL"]
        with closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
            cursor.execute("CREATE TABLE held (number int)")
            cursor.execute("CREATE TABLE free (number int)")
            holder.commit()
            cursor.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
            waits, over = Waits(), Event()
            reader = Thread(target=ask, args=(url, ["free", "held"], STATEMENTS["read"], waits, over))
            reader.start()
            # Held for longer than the looks before took, which on a busy machine may be long themselves.
            until(lambda: waited_s(url) > waits.longest_s, within_s=30)
            over.set()
            holder.rollback()
            reader.join()
    assert waits.table == "held"
    assert waits.longest_s > 0
    assert waits.failed == []


def waited_s(url: str) -> float:
    """For how long somebody in this database has stood before a lock; 0 when nobody does."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(extract(epoch FROM clock_timestamp() - query_start)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        ((longest_s,),) = cursor.fetchall()
    return float(longest_s or 0.0)
