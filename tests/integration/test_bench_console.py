"""The measurement over a long history, with a short one: it fills, visits every page, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own

from tests.integration.console.running import postgresql

ROOT = Path(__file__).parents[2]
SERVER = "postgresql://postgres@127.0.0.1:5432"


def databases() -> set[str]:
    connection = psycopg2.connect(f"{SERVER}/postgres")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'amulet_bench_%'")
        found = {row[0] for row in cursor.fetchall()}
    connection.close()
    return found


def test_every_page_answers_within_fifteen_queries_and_the_databases_are_gone_after(tmp_path: Path) -> None:
    with postgresql():  # skips where there is no server
        before = databases()
    out = tmp_path / "rows.json"
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "bench", "console", "--rows", "1000", "--rounds", "1", "--seconds", "0.2",
         "--json", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())
    large = found["systems"]["large"]
    assert len([case for case in large if case.startswith(("list", "filter", "search", "rest"))]) > 100
    assert {"home", "ingest", "drift report", "audit verification", "erasure of one person"} <= large.keys()
    assert [case for case, row in large.items() if row.get("queries", 0) > 15] == []
    assert databases() == before
