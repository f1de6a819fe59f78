"""Counters that many processes add to at once: one row a kind, one statement a hundred kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final

from django.db import connection
from django.db.models import Model

_ROWS_PER_STATEMENT: Final = 100


def add_counts(model: type[Model], key: Sequence[str], counts: Mapping[tuple[Any, ...], int]) -> None:
    """Add to the column `count` of the rows with these keys, inside the caller's transaction; makes those that lack.

    key: the columns of a unique constraint of the model, in the order of the tuples.
    """
    # In one order everywhere, so that two batches never wait for each other in a circle.
    rows = sorted(counts.items())
    table, names = model._meta.db_table, ", ".join(key)
    places = f"({', '.join(['%s'] * (len(key) + 1))})"
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            values = [
                adapt(part) if isinstance(part, datetime) else part.value if isinstance(part, Enum) else part
                for kind, count in some
                for part in (*kind, count)
            ]
            cursor.execute(
                f"INSERT INTO {table} ({names}, count) VALUES "  # noqa: S608 - names of ours and placeholders
                + ", ".join([places] * len(some))
                + f" ON CONFLICT ({names}) DO UPDATE SET count = {table}.count + excluded.count",
                values,
            )
