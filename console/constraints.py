"""Constraints that are added while people go on reading and writing.

ADD CONSTRAINT reads the whole table, and lets nobody else read it until it is done. On PostgreSQL these are added
as NOT VALID first, which holds for every row that is written from then on and takes no time, and are then validated
under a lock that neither readers nor writers wait for. One that is unique on some rows is an index, and is built as
those of `console.indexes` are. A migration with them says `atomic = False`; it may break off and be run again, and
what is there already is left as it is. SQLite knows no other way than its own.
"""

from __future__ import annotations

from typing import Final

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddConstraint
from django.db.migrations.state import ProjectState
from django.db.models import BaseConstraint, CheckConstraint, Model, UniqueConstraint

_VALIDATED: Final = "SELECT convalidated FROM pg_constraint WHERE conname = %s AND conrelid = %s::regclass"
_INDEX: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"


class AddConstraintUnblocked(AddConstraint):
    """`AddConstraint` that blocks neither readers nor writers: a check, or unique on the rows of a condition."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        if schema_editor.connection.vendor != "postgresql":
            _add_here(schema_editor, model, self.constraint)
        elif isinstance(self.constraint, CheckConstraint):
            _add_check(schema_editor, model, self.constraint)
        elif isinstance(self.constraint, UniqueConstraint) and self.constraint.condition is not None:
            _add_unique(schema_editor, model, self.constraint)
        else:
            raise TypeError(f"{self.constraint!r} cannot be added without blocking")


def _add_here(schema_editor: BaseDatabaseSchemaEditor, model: type[Model], constraint: BaseConstraint) -> None:
    with schema_editor.connection.cursor() as cursor:
        known = schema_editor.connection.introspection.get_constraints(cursor, model._meta.db_table)
    if constraint.name not in known:
        schema_editor.add_constraint(model, constraint)


def _add_check(schema_editor: BaseDatabaseSchemaEditor, model: type[Model], constraint: CheckConstraint) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_VALIDATED, [constraint.name, model._meta.db_table])
        found = cursor.fetchone()
    table, name = map(schema_editor.quote_name, (model._meta.db_table, constraint.name))
    if found is None:
        schema_editor.execute(f"{constraint.create_sql(model, schema_editor)} NOT VALID", params=None)
    if found is None or not found[0]:
        schema_editor.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def _add_unique(schema_editor: BaseDatabaseSchemaEditor, model: type[Model], constraint: UniqueConstraint) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_INDEX, [constraint.name])
        found = cursor.fetchone()
    if found is not None and found[0]:
        return
    if found is not None:  # it broke off
        schema_editor.execute(f"DROP INDEX CONCURRENTLY {schema_editor.quote_name(constraint.name)}")
    made = str(constraint.create_sql(model, schema_editor))
    schema_editor.execute(made.replace("CREATE UNIQUE INDEX", "CREATE UNIQUE INDEX CONCURRENTLY", 1), params=None)
