"""Every app's tables go back to nothing and come again, and each migration over rows, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import groupby
from operator import itemgetter

import pytest

from tests.integration.console.running import postgresql
from tests.integration.console_events.processes import Crew

_SCHEMA = """
from django.db import connection
with connection.cursor() as cursor:
    names = sorted(connection.introspection.table_names(cursor))
    answer = {
        name: [
            sorted(column.name for column in connection.introspection.get_table_description(cursor, name)),
            sorted(connection.introspection.get_constraints(cursor, name)),
        ]
        for name in names
        if name != "django_migrations"
    }
"""
_LABELS = """
from django.apps import apps
from django.db.migrations.loader import MigrationLoader
ours = {config.label for config in apps.get_app_configs() if config.name.startswith("console.")}
answer = sorted(ours & MigrationLoader(None).migrated_apps)
"""
_STEPS = """
from benchmarks.migrations import before, later_migrations
answer = [[app, name, before(app, name)] for app, name in later_migrations()]
"""

# Two models with a version of one name, of which the registry has one; and a version that it does not have.
_OF_TWO_MODELS = """
from datetime import UTC, datetime
from console.drift.models import Distribution, Span
from console.site.roles import Role
from model_store.reference import Reference
from tests.unit.console.people import member
from tests.unit.console.versions import a_version
name = a_version(member(Role.MODEL_ENGINEER), model="coins").version
for model, version in (("amulets", name), ("coins", name), ("stamps", "unknown")):
    Distribution.objects.create(
        model=model, version=version, span=Span.DAY, begins_at=datetime(2026, 11, 1, tzinfo=UTC),
        text=Reference({}, {}).render(),
    )
answer = name
"""
_WHOSE = """
from console.drift.models import Distribution
answer = sorted(map(list, Distribution.objects.values_list("model", "version")))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """A migrated console that no other test uses."""
    database = postgresql() if request.param == "postgresql" else nullcontext({})
    # Which photographs are blind is drawn; what fills the tables says it.
    shares = {f"AMULET_REVIEW_{kind}_RATIO": "0" for kind in ("BLIND", "DOUBLE", "GOLD")}
    state = tmp_path_factory.mktemp("migrated") / "state"
    with database as variables, Crew.on(state, {**variables, **shares}) as crew:
        yield crew


def migrate(crew: Crew, *arguments: str) -> None:
    crew.manage("migrate", *arguments, "--noinput", "--skip-checks", "--verbosity=0")


def test_every_app_goes_to_nothing_and_comes_again(fresh: Crew) -> None:
    before = fresh.shell(_SCHEMA)
    labels: list[str] = fresh.shell(_LABELS)
    assert {"audit", "predictions", "review", "vault", "privacy"} <= set(labels)
    for label in labels:
        migrate(fresh, label, "zero")
    left = {name.split("_")[0] for name in fresh.shell(_SCHEMA)}
    assert left & set(labels) == set()
    migrate(fresh)
    assert fresh.shell(_SCHEMA) == before


def test_every_migration_goes_back_over_rows_and_comes_again(fresh: Crew) -> None:
    """One by one, from the newest to where each app began, over the rows of a fortnight's work.

    A command is for as many as follow on each other in one app: it applies each by itself, and what it looks at before
    and after costs as much for one as for ten.
    """
    schema = fresh.shell(_SCHEMA)
    fresh.shell(
        "from pathlib import Path\nfrom tempfile import TemporaryDirectory\n"
        "from tests.unit.console.site.everything import fill\n"
        "with TemporaryDirectory() as folder:\n    fill(Path(folder))\nanswer = None"
    )
    kept = ("predictions_prediction", "audit_entry", "review_reviewitem", "review_expertdecision", "vault_consent")
    counted = {name: fresh.count(name) for name in kept}
    assert min(counted.values()) > 0
    steps: list[list[str]] = fresh.shell(_STEPS)
    assert len(steps) > 20
    runs = [list(run) for _app, run in groupby(steps, key=itemgetter(0))]
    for (app, _name, earlier), *_later in reversed(runs):
        migrate(fresh, app, earlier)
    for *_earlier, (app, name, _before) in runs:
        migrate(fresh, app, name)
    migrate(fresh)  # an app that leans on what went back went with it
    assert fresh.shell(_SCHEMA) == schema
    assert {name: fresh.count(name) for name in kept} == counted


def test_what_drift_knew_by_name_alone_goes_to_the_model_that_the_registry_knows(fresh: Crew) -> None:
    name = fresh.shell(_OF_TWO_MODELS)
    migrate(fresh, "drift", "0002")  # where a name stands once
    migrate(fresh, "drift")
    assert fresh.shell(_WHOSE) == [["", "unknown"], ["coins", name]]
