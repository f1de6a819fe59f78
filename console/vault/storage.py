"""Where encrypted objects lie, named by their random ids: in a folder, or in a bucket (decision 0196).

An object without a row in the database is rubbish that a crash left: its salt is gone, so nobody
can read it, and the sweep removes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol
from uuid import UUID

SHELVES: Final = 256  # by the first byte of the id, so of about as many objects each


class ObjectStore(Protocol):
    """Safe for several processes and threads: no two ever write one id. Whatever fails raises OSError."""

    def write(self, objects: Iterable[tuple[UUID, bytes]]) -> None:
        """Durable when it returns. After OSError any that was taken may be there: `delete` those, or a sweep does."""

    def read(self, object_id: UUID) -> bytes:
        """Raises FileNotFoundError when there is none, OSError when that cannot be told."""

    def held(self, object_ids: Iterable[UUID]) -> int:
        """How many of these are there, in any version."""

    def delete(self, object_ids: Iterable[UUID]) -> None:
        """Harmless for those that are gone. Ends at the first that cannot be."""

    def older_than(self, timestamp_s: float, *, shelf: int) -> Iterator[UUID]:
        """Ids of one shelf's objects written before a time, in seconds since the epoch. shelf: 0 to SHELVES - 1."""
