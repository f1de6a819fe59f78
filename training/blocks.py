"""Many rows a few thousand at a time: in float64 all of them at once would take twice the memory that they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ROWS: Final = 8192  # 100 MiB in float64 at the standard embedding's size


def places(count: int) -> Iterator[slice]:
    """Where each block of so many rows is: one block, though an empty one, where there are none."""
    for start in range(0, max(count, 1), ROWS):
        yield slice(start, start + ROWS)


def in_blocks(
    function: Callable[[NDArray[Any]], NDArray[np.float64]], rows: NDArray[np.floating]
) -> NDArray[np.float64]:
    """`function` of rows [n, ...], one result a row, a block at a time."""
    found = [function(rows[place]) for place in places(len(rows))]
    return found[0] if len(found) == 1 else np.concatenate(found)
