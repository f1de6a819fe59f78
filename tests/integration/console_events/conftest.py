"""One console for each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.integration.console.running import postgresql
from tests.integration.console_events.processes import Crew


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def crew(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """A migrated console on SQLite, then on a PostgreSQL database of its own."""
    database = postgresql() if request.param == "postgresql" else nullcontext({})
    with database as variables, Crew.on(tmp_path_factory.mktemp("crew") / "state", variables) as crew:
        yield crew
