"""Who waits for a place, taken in turns: one of each client, then one of each again.

Round robin over the clients that wait, each client's own in the order in which they came (Nagle 1987,
"On Packet Switches With Infinite Storage", RFC 970). So whoever has one waits for at most one of each
other client, however many those have; and who comes back after his turn stands at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Every operation takes the same time however many wait; `discard` looks through one client's own."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[T]] = {}  # client -> its own, oldest first; the next client first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def clients(self) -> Iterator[str]:
        """Those that wait, the next one first."""
        return iter(self._waiting)

    def put(self, client: str, one: T) -> None:
        self._waiting.setdefault(client, deque()).append(one)
        self._count += 1

    def take(self) -> T:
        """The oldest of the client whose turn it is. Raises StopIteration when nobody waits."""
        client = next(iter(self._waiting))
        own = self._waiting.pop(client)
        one = own.popleft()
        if own:
            self._waiting[client] = own  # at the end
        self._count -= 1
        return one

    def drop_newest(self, client: str) -> T:
        """Raises KeyError when the client has none."""
        one = self._waiting[client].pop()
        self._dropped(client)
        return one

    def discard(self, client: str, one: T) -> None:
        """Nothing happens when it does not wait any more."""
        own = self._waiting.get(client)
        if own is not None and one in own:
            own.remove(one)
            self._dropped(client)

    def _dropped(self, client: str) -> None:
        self._count -= 1
        if not self._waiting[client]:
            del self._waiting[client]
