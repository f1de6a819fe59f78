"""What the disk refuses to read, told apart from bytes that are wrong, and how long a reader waits for it.

A refusal says nothing of what is written there. A controller that resets, a path that is lost or a
volume that is attached anew gives everything back; a bad sector gives nothing ever again. Only time
tells which of them it is.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Collection
from typing import Final

BLOCK_BYTES: Final = 4096
WHOLE_FILE: Final = -1  # stands for the offset of a block where the file cannot even be opened

# Longer than a controller resets, a path changes over or a storage node starts again, and long enough for somebody
# who is called to stop the gateway and copy the disk: the backlog's alarm comes after five minutes. Late costs nothing
# but room, early costs events.
REFUSED_S_MAX: Final = 3600.0

# Two refusals prove nothing of a long time between them in which nobody asked, as while the console was away.
BETWEEN_S_MAX: Final = 10.0

_REFUSALS: Final = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})  # the latter two: of what a file system checks

Forgo = Callable[[Collection[int]], Collection[int]]
"""Given the offsets of all blocks that were just refused, those to go on without, which are then read as zeros."""


def is_refusal(error: OSError) -> bool:
    """Whether the disk may give what it refused when it is asked again."""
    return error.errno in _REFUSALS


def nothing(_blocks: Collection[int]) -> Collection[int]:
    """A `Forgo` for who needs every block."""
    return ()


def everything(blocks: Collection[int]) -> Collection[int]:
    """A `Forgo` for who takes what is there."""
    return blocks


class Patience:
    """A `Forgo` that goes on without a block of one segment once it was refused throughout REFUSED_S_MAX.

    Each stretch that is given up halves the wait for the next one, so that a segment which is bad
    all over holds up those behind it for twice as long at most, and not for so long a stretch.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds that never go back."""
        self._clock = clock
        self._enough_s = REFUSED_S_MAX
        self._asked_s = clock()
        self._waited_s: dict[int, float] = {}
        self._forgone: set[int] = set()

    def __call__(self, blocks: Collection[int]) -> Collection[int]:
        waiting = [block for block in blocks if block not in self._forgone]
        if waiting:
            now_s = self._clock()
            more_s = min(now_s - self._asked_s, BETWEEN_S_MAX)
            self._asked_s = now_s
            before = self._waited_s
            # A block that was read since begins anew.
            self._waited_s = {block: before[block] + more_s if block in before else 0.0 for block in waiting}
            enough = {block for block, waited_s in self._waited_s.items() if waited_s >= self._enough_s}
            if enough:
                self._forgone |= enough
                self._enough_s /= 2
        return self._forgone
