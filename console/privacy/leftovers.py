"""What the database keeps beside its tables of rows that were deleted or changed."""

from __future__ import annotations

from django.db import connection


def compacted() -> bool:
    """Drop what the database keeps of deleted rows beside its tables. False when readers hold it up just now.

    SQLite overwrites what it deletes (`secure_delete`), and its write-ahead log still has the
    older pages until it is emptied. PostgreSQL does both by itself, with vacuum and by
    recycling its log.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return True
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (busy, _pages, _moved) = cursor.fetchone()
    return not busy
