"""Indexes that are built and dropped while people go on reading and writing.

CREATE INDEX locks a table against writing until it is done, which on a million rows is seconds in
which no event is taken in. On PostgreSQL these are built CONCURRENTLY instead, outside of any
transaction: a migration with them says `atomic = False` and holds nothing else. One that broke off
leaves an invalid index behind, which the next try drops first. SQLite knows no other way than its own.
"""

from __future__ import annotations

from typing import Final

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddIndex, RemoveIndex
from django.db.migrations.state import ProjectState
from django.db.models import Index, Model

_INVALID: Final = """
SELECT 1 FROM pg_class JOIN pg_index ON pg_index.indexrelid = pg_class.oid
WHERE pg_class.relname = %s AND NOT pg_index.indisvalid
"""


class AddIndexUnblocked(AddIndex):
    """`AddIndex` that blocks neither readers nor writers."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            _add(schema_editor, model, self.index)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            _remove(schema_editor, model, self.index)


class RemoveIndexUnblocked(RemoveIndex):
    """`RemoveIndex` that waits for no reader and holds none up; by name only."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            state = from_state.models[app_label, self.model_name_lower]
            _remove(schema_editor, model, state.get_index_by_name(self.name))

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            state = to_state.models[app_label, self.model_name_lower]
            _add(schema_editor, model, state.get_index_by_name(self.name))


def _add(schema_editor: BaseDatabaseSchemaEditor, model: type[Model], index: Index) -> None:
    if schema_editor.connection.vendor != "postgresql":
        schema_editor.add_index(model, index)
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_INVALID, [index.name])
        if cursor.fetchone():
            _remove(schema_editor, model, index)
    schema_editor.add_index(model, index, concurrently=True)  # type: ignore[call-arg]  # PostgreSQL's editor


def _remove(schema_editor: BaseDatabaseSchemaEditor, model: type[Model], index: Index) -> None:
    if schema_editor.connection.vendor != "postgresql":
        schema_editor.remove_index(model, index)
        return
    schema_editor.remove_index(model, index, concurrently=True)  # type: ignore[call-arg]  # PostgreSQL's editor
