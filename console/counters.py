"""Counters that many processes add to at once: one row a kind, many kinds a statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Model

from console.rows import insert_unless_there


def add_counts(model: type[Model], key: Sequence[str], counts: Mapping[tuple[Any, ...], int]) -> None:
    """Add to the column `count` of the rows with these keys, inside the caller's transaction; makes those that lack.

    key: the columns of a unique constraint of the model, in the order of the tuples.
    """
    insert_unless_there(
        model,
        [*key, "count"],
        # In one order everywhere, so that two batches never wait for each other in a circle.
        [(*kind, count) for kind, count in sorted(counts.items())],
        otherwise=f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET count = {model._meta.db_table}.count + excluded.count",
    )
