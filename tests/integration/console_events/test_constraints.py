"""Constraints that are added while people work: what broke off is run again, and a row that breaks one is said."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from tests.integration.console.running import postgresql
from tests.integration.console_events.processes import Crew

CHECK = "no_more_opinions_than_wanted"
UNIQUE = "one_voice_per_expert_and_item"
BEFORE, AFTER = "0004_gold", "0005_constraints_unblocked"


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    with postgresql() as variables, Crew.on(tmp_path_factory.mktemp("constraints") / "state", variables) as crew:
        yield crew


@pytest.fixture
def database(crew: Crew) -> Iterator[psycopg2.extensions.connection]:
    """A connection of its own, with the tables as they were before the constraints."""
    crew.manage("migrate", "review", BEFORE, "--noinput", "--skip-checks")
    connection = psycopg2.connect(crew.environment["AMULET_DATABASE_URL"])
    connection.autocommit = True
    yield connection
    connection.close()


def constraints(crew: Crew) -> dict[str, bool]:
    """Name -> whether every row was checked."""
    return dict(
        crew.query(f"SELECT conname, convalidated FROM pg_constraint WHERE conname = '{CHECK}'")
        + crew.query(
            "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            f"WHERE relname = '{UNIQUE}' AND indisunique"
        )
    )


def test_what_broke_off_is_finished(crew: Crew, database: psycopg2.extensions.connection) -> None:
    assert constraints(crew) == {}
    with database.cursor() as cursor:  # as far as a process gets that dies in between
        cursor.execute(
            f"ALTER TABLE review_reviewitem ADD CONSTRAINT {CHECK} CHECK (opinions <= opinions_wanted) NOT VALID"
        )
        cursor.execute(
            f"CREATE UNIQUE INDEX {UNIQUE} ON review_expertdecision (item_id, expert_id) WHERE NOT part = 'alone'"
        )
        cursor.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{UNIQUE}'::regclass")
    assert constraints(crew) == {CHECK: False, UNIQUE: False}
    crew.manage("migrate", "review", AFTER, "--noinput", "--skip-checks")
    assert constraints(crew) == {CHECK: True, UNIQUE: True}


def test_applying_it_over_what_is_there_changes_nothing(crew: Crew, database: psycopg2.extensions.connection) -> None:
    """As on a console that had the constraints from the migration before."""
    crew.manage("migrate", "review", AFTER, "--noinput", "--skip-checks")
    whole = constraints(crew)
    assert whole == {CHECK: True, UNIQUE: True}
    crew.manage("migrate", "review", BEFORE, "--fake", "--noinput", "--skip-checks")
    crew.manage("migrate", "review", AFTER, "--noinput", "--skip-checks")
    assert constraints(crew) == whole
