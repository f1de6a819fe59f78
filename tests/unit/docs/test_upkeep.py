"""The lines that copy a stack that runs, typed as the page prints them beside somebody who writes without a pause."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.pages import ROOT, blocks

COPY_S_MAX: Final = 60  # of a copy that takes half a second, on a machine that does much else
ROWS: Final = 5000
SECRET: Final = ("amulet-files.tar.gz", "backup.sqlite3")


@contextmanager
def written_to(database: Path) -> Iterator[None]:
    """A database of some 20 MB that another process than the one that copies it writes to all the time."""
    stop, writes = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, isolation_level=None, timeout=COPY_S_MAX)) as mine:
            mine.execute("PRAGMA synchronous=OFF")
            while not stop.is_set():
                mine.execute("INSERT INTO later VALUES (1)")
                writes.set()

    with closing(sqlite3.connect(database)) as made:
        made.executescript("PRAGMA journal_mode=WAL; CREATE TABLE kept (content); CREATE TABLE later (content);")
        made.executemany("INSERT INTO kept VALUES (?)", ((os.urandom(4000),) for _ in range(ROWS)))
        made.commit()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert writes.wait(COPY_S_MAX)
        yield
    finally:
        stop.set()
        writer.join()


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="no program sqlite3: install the package of that name")
def test_a_copy_beside_a_stack_that_runs_ends_is_whole_and_is_for_nobody_else(tmp_path: Path) -> None:
    (block,) = [each for each in blocks(ROOT / "docs/operators/upkeep.md", "sh") if "sqlite3 .amulet" in each.text]
    for name in ("checkpoints", "secrets", "models", "console/objects", "console/trusted"):
        (tmp_path / ".amulet" / name).mkdir(parents=True)

    with written_to(tmp_path / ".amulet/console/db.sqlite3"):
        script = f"umask 022\n{block.text}"
        subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, timeout=COPY_S_MAX)

    with closing(sqlite3.connect(tmp_path / "backup.sqlite3")) as copied:
        assert copied.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        assert copied.execute("SELECT count(*) FROM kept").fetchone() == (ROWS,)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in SECRET] == [0o600, 0o600]


def test_whatever_the_page_copies_that_holds_keys_is_for_nobody_else() -> None:
    lines = [line for block in blocks(ROOT / "docs/operators/upkeep.md", "sh") for line in block.text.splitlines()]

    copies = [line for line in lines if "tar -cz" in line or "INTO" in line or "pg_dump" in line]
    assert len(copies) == 6
    assert [line for line in copies if not line.startswith("(umask 077; ")] == [
        "tar -czf amulet-checkpoints.tar.gz .amulet/checkpoints"  # which anybody may see
    ]
