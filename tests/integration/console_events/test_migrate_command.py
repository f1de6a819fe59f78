"""`console.manage migrate` as operators meet it: two at once, a disk that takes nothing, tables of a newer version."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from cli import supervision
from cli.layout import Layout, Ports
from tests import migrated
from tests.console_ready import new_state
from tests.stack import until

COMMAND = (sys.executable, "-m", "console.manage", "migrate", "--noinput", "--verbosity", "0")
OTHER_AT_WORK = "Another `migrate` is at work on this database: waiting for its end\n"
# As `console.site.management.commands.migrate` has it.
LOCK = int.from_bytes(b"amulet")


# What is locked at the moment in which a connection beside the console's own is closed.
LOCKED_AT_CLOSE = """
from io import StringIO
from unittest.mock import patch
import django
django.setup()
from django.core.management import call_command
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
own, closes, seen = connections["default"], DatabaseWrapper.close, []
def close(self):
    if self is not own:
        with own.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
                           " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
            seen.append(cursor.fetchone()[0])
    closes(self)
with patch.object(DatabaseWrapper, "close", close):
    call_command("migrate", plan=True, stdout=StringIO())
print(seen)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(new_state(tmp_path / "state"), Ports(0))


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "amulet-test", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def environment(layout: Layout, **variables: str) -> Mapping[str, str]:
    return supervision.environment(layout, {**os.environ, **variables})


def refusal(layout: Layout, **variables: str) -> str:
    done = subprocess.run(COMMAND, env=environment(layout, **variables), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr.strip()


def tables(file: Path) -> int:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def test_of_two_at_once_the_second_waits_for_the_first(layout: Layout) -> None:
    file = layout.console / "db.sqlite3"
    folder = os.open(layout.console, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # as the first holds it
        with subprocess.Popen(COMMAND, env=environment(layout), stdout=subprocess.PIPE, text=True) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == OTHER_AT_WORK
            assert not file.exists()
            fcntl.flock(folder, fcntl.LOCK_UN)
            assert second.wait(timeout=600) == 0
    finally:
        os.close(folder)
    assert tables(file) > 100


@pytest.mark.servers
def test_on_a_server_the_second_waits_too_whatever_its_lock_timeout(layout: Layout) -> None:
    with migrated.database() as url:
        variables = environment(layout, AMULET_DATABASE_URL=f"{url}?options=-c%20lock_timeout%3D1ms")
        with closing(psycopg2.connect(url)) as first, first.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            with subprocess.Popen(COMMAND, env=variables, stdout=subprocess.PIPE, text=True) as second:
                assert second.stdout is not None
                assert second.stdout.readline() == OTHER_AT_WORK
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
                assert second.wait(timeout=600) == 0


@pytest.mark.servers
def test_a_proxy_that_shares_sessions_keeps_the_lock_and_nothing_waits_for_whoever_holds_it(layout: Layout) -> None:
    holder = (
        "SELECT state, backend_xmin FROM pg_stat_activity JOIN pg_locks USING (pid) "
        "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )
    with migrated.database() as url:
        variables = environment(layout, AMULET_DATABASE_URL=url)
        with closing(psycopg2.connect(url)) as reader, closing(psycopg2.connect(url)) as onlooker:
            onlooker.autocommit = True
            with reader.cursor() as held, onlooker.cursor() as asked:
                held.execute("LOCK TABLE django_migrations IN ACCESS EXCLUSIVE MODE")  # in the middle of the work
                with subprocess.Popen(COMMAND, env=variables) as working:
                    until(lambda: asked.execute(holder) or asked.rowcount, within_s=600)
                    # In a transaction, through which PgBouncer gives a session to nobody else; and one that sees no
                    # rows, since an index that is built beside it waits for those that do.
                    found = asked.fetchall()
                    reader.rollback()
                    assert working.wait(timeout=600) == 0
    assert found == [("idle in transaction", None)]


@pytest.mark.servers
def test_whoever_has_ended_is_not_at_work_for_the_next(layout: Layout) -> None:
    with migrated.database() as url:
        variables = environment(layout, AMULET_DATABASE_URL=url)

        done = subprocess.run(
            (sys.executable, "-c", LOCKED_AT_CLOSE),
            env={**variables, "DJANGO_SETTINGS_MODULE": "console.site.settings"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip

    assert done.stdout == "[0]\n"


def test_tables_of_a_newer_version_are_refused_by_the_older_one(layout: Layout) -> None:
    migrated.give_tables(layout, environment(layout))
    with closing(sqlite3.connect(layout.console / "db.sqlite3")) as connection, connection:
        connection.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('axes', '9999_theirs', '2027')")
        connection.commit()
        assert subprocess.run(COMMAND, env=environment(layout), check=False).returncode == 0  # not ours to say
        connection.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('audit', '9999_ours', '2027')")

    assert "of a newer version of Amulet, whose audit.9999_ours is unknown here" in refusal(layout)


def test_a_full_disk_is_said_to_be_full(layout: Layout, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "2m") as small:
        sentence = refusal(layout, AMULET_DATABASE_URL=f"sqlite:///{small}/db.sqlite3")

        assert f"2.0 MiB are free on the disk of {small}/db.sqlite3: make room there" in sentence


def test_a_disk_that_fills_in_the_middle_is_said_to_be_full(layout: Layout, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "17m") as small:
        file = small / "db.sqlite3"
        code = (
            "import sys\n"
            "from pathlib import Path\n"
            "from django.db.models.signals import pre_migrate\n"
            "from console import manage\n"
            "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'console.site.settings'\n"
            "import django; django.setup()\n"
            # When tables are begun with somebody else takes the room.
            f"taken = Path({str(small / 'other')!r})\n"
            "pre_migrate.connect(lambda **_: taken.write_bytes(bytes(16_500 * 1024)), weak=False)\n"
            "sys.exit(manage.main(sys.argv[1:]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *COMMAND[3:]],
            env=environment(layout, AMULET_DATABASE_URL=f"sqlite:///{file}"),
            capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert done.returncode == 1
        assert "JSONField" not in done.stderr
        assert f"on the disk of {file}: make room there" in done.stderr.splitlines()[-1]


def test_a_disk_that_is_mounted_read_only_is_said_to_be(layout: Layout, tmp_path: Path) -> None:
    migrated.give_tables(layout, environment(layout))
    with disk(tmp_path / "disk", "30m") as place:
        file = place / "db.sqlite3"
        file.write_bytes((layout.console / "db.sqlite3").read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)

        sentence = refusal(layout, AMULET_DATABASE_URL=f"sqlite:///{file}")

    assert f"{file} lies on a disk that is mounted read-only" in sentence
    assert "backup" not in sentence
