"""What the database itself refuses: to change, delete or empty what the audit log has written.

Triggers, because they bind every role that does not own the table, a bug of ours and a hand
at the SQL prompt alike; an owner who drops them is found by the verifier. Payloads may be
deleted, which is how they are erased, and never changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

# Table -> the statements that it refuses.
REFUSED: Final = {
    "audit_entry": ("UPDATE", "DELETE", "TRUNCATE"),
    "audit_checkpoint": ("UPDATE", "DELETE", "TRUNCATE"),
    "audit_payload": ("UPDATE", "TRUNCATE"),
    "audit_head": ("DELETE", "TRUNCATE"),
}
_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION amulet_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the audit log is only ever added to', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$
"""


def install(connection: BaseDatabaseWrapper) -> None:
    """Put the triggers in place; harmless when they are."""
    with connection.cursor() as cursor:
        for statement in statements(connection.vendor):
            cursor.execute(statement)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Take the triggers away: the way back of the migration."""
    with connection.cursor() as cursor:
        for table, operation in _pairs(connection.vendor):
            suffix = f" ON {table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {_name(table, operation)}{suffix}")
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION IF EXISTS amulet_audit_refuse()")


def statements(vendor: str) -> Iterator[str]:
    """The SQL of the triggers for "postgresql" or "sqlite"."""
    if vendor == "postgresql":
        yield _FUNCTION
    for table, operation in _pairs(vendor):
        name = _name(table, operation)
        if vendor == "postgresql":
            yield f"DROP TRIGGER IF EXISTS {name} ON {table}"
            yield (
                f"CREATE TRIGGER {name} BEFORE {operation} ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION amulet_audit_refuse()"
            )
        else:
            message = f"{operation} of {table} is refused: the audit log is only ever added to"
            yield (
                f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {operation} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )


def _pairs(vendor: str) -> list[tuple[str, str]]:
    # SQLite has no TRUNCATE: a DELETE without a condition is one, and fires the trigger.
    return [
        (table, operation)
        for table, operations in REFUSED.items()
        for operation in operations
        if vendor == "postgresql" or operation != "TRUNCATE"
    ]


def _name(table: str, operation: str) -> str:
    return f"{table}_refuses_{operation.lower()}"
