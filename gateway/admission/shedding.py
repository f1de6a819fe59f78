"""How many calls are inside at once, and whose turn it is: beyond the bound a call is refused at once.

A queue in front of a full house only turns refusals into missed deadlines; a caller who
is told so at once can go to another gateway.

Two bounds. A burst may fill the whole house, for it is over soon. A queue that *stands* is
no burst: it makes everybody late and nobody faster (Nichols & Jacobson 2012, "Controlling
Queue Delay"). Once more calls than the comfortable number have been under way for STANDING_S
and the house was never half empty meanwhile, only the comfortable number is let in, until
nobody had to be refused for STANDING_S. That it is half empty does not end it: answers come
in batches.

Comfortable is what is answered within COMFORT_S at the pace measured lately (Little's law),
and never less than keeps every core busy. So many are worked on; the rest of a burst waits,
and its clients take turns.

The house is its clients' in equal shares (decision 0122). While it is full, who has his share
inside is refused; who has less is let in, and where somebody waits with more than his share,
the newest call of whoever has most goes for it. So it is the calls of the client that floods
that are shed, and another one's wait grows with the number of clients and not with the flood.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from gateway import errors
from gateway.admission.turns import Turns
from gateway.deadline import Deadline

COMFORT_S: Final = 0.1
STANDING_S: Final = 1.0
CALLS_A_CORE: Final = 8  # decoding, the graph, the journal and the network each hold some
# About the time in which a full house of calls is answered.
_RETRY_AFTER_S: Final = 1.0
_PACE_SECONDS: Final = 30  # the best of so many past seconds is what we can do
T = TypeVar("T")


class Shedder:
    def __init__(
        self, calls_in_flight_max: int, *, cores: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max, self._least = calls_in_flight_max, min(calls_in_flight_max, CALLS_A_CORE * cores)
        self._clock = clock
        self._answered: deque[int] = deque([0], maxlen=_PACE_SECONDS)  # in each second, the last one not over yet
        self._second_began_s = clock()
        self._crowded_since_s: float | None = None
        self._standing_until_s = clock()
        self._turns: Turns[asyncio.Future[None]] = Turns()
        self._inside: dict[str, int] = {}  # client -> its calls, worked on or waiting
        self._working = 0
        self.in_flight = 0  # inside

    @property
    def comfortable(self) -> int:
        """How many calls at once nobody has to wait long for."""
        return min(self._max, max(self._least, round(max(self._answered) * COMFORT_S)))

    @property
    def waiting(self) -> int:
        return len(self._turns)

    def place(self, client_id: str, deadline: Deadline) -> Place:
        """A place for one call. Use as an async context manager, whose body begins when it is the call's turn.

        Entering raises Overloaded when there is none, or when it went to a client that has fewer; DeadlineExceeded.
        """
        return Place(self, client_id, deadline)

    async def enter(self, client_id: str, deadline: Deadline) -> None:
        """For `Place` alone, as is `leave`."""
        loser = self.check(client_id)
        if loser:
            self._shed_newest(loser)
        self._inside[client_id] = self._inside.get(client_id, 0) + 1
        self.in_flight += 1
        if self._turns or self._working >= self.comfortable:
            await self._wait(client_id, deadline)
        else:
            self._working += 1

    def leave(self, client_id: str) -> None:
        self._working -= 1
        self._out(client_id)
        self._call_in()

    def check(self, client_id: str) -> str:
        """Whose waiting call would go for one of this client; empty: nobody's. Raises Overloaded."""
        places = self._places()
        if self.in_flight < places:
            return ""
        own = self._inside.get(client_id, 0)
        share = max(1, places // (len(self._inside) + (own == 0)))
        if own < share:
            most = max(self._turns.clients(), key=self._inside.__getitem__, default="")
            if most and self._inside[most] > share:
                return most
            if self.waiting < places:
                return ""
        raise errors.Overloaded.for_now(
            f"{self.in_flight} calls are being answered already, {own} of them this client's",
            retry_after_s=_RETRY_AFTER_S,
        )

    async def _wait(self, client_id: str, deadline: Deadline) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._turns.put(client_id, turn)
        self._call_in()  # the comfortable number may have grown
        try:
            async with deadline.while_("waiting for a place"):
                await turn
        except BaseException:
            if not turn.done() or turn.cancelled():
                self._turns.discard(client_id, turn)
                self._out(client_id)
            elif turn.exception() is None:  # called in, and gone in that very moment
                self._working -= 1
                self._out(client_id)
                self._call_in()
            raise

    def _call_in(self) -> None:
        comfortable = self.comfortable
        while self._turns and self._working < comfortable:
            turn = self._turns.take()
            if turn.done():  # its caller has just left, and has not yet been cleared away
                continue
            turn.set_result(None)
            self._working += 1

    def _shed_newest(self, client_id: str) -> None:
        turn = self._turns.drop_newest(client_id)
        if not turn.done():
            turn.set_exception(
                errors.Overloaded.for_now(
                    "the place went to a client that has fewer calls inside", retry_after_s=_RETRY_AFTER_S
                )
            )
            self._out(client_id)

    def _out(self, client_id: str) -> None:
        self.in_flight -= 1
        left = self._inside[client_id] - 1
        if left:
            self._inside[client_id] = left
        else:
            del self._inside[client_id]
        if self._crowded_since_s is not None and self.in_flight < self.comfortable / 2:
            self._crowded_since_s = None

    def _places(self) -> int:
        if self.in_flight < self.comfortable:
            return self._max
        now_s = self._clock()
        if self._crowded_since_s is None:
            self._crowded_since_s = now_s
        if now_s < self._standing_until_s or now_s - self._crowded_since_s >= STANDING_S:
            self._standing_until_s = now_s + STANDING_S
            return self.comfortable
        return self._max

    def count(self) -> None:
        """A call was answered now."""
        now_s = self._clock()
        passed = int(now_s - self._second_began_s)
        if passed:
            self._second_began_s += passed
            self._answered.extend([0] * min(passed, _PACE_SECONDS))
        self._answered[-1] += 1


class Place:
    """Kept while the body lasts, and for as long as what was begun for the call goes on without it.

    So whoever leaves calls and comes with others has no more inside than who stays (decision 0169).
    """

    __slots__ = ("_client_id", "_deadline", "_keeping", "_shedder")

    def __init__(self, shedder: Shedder, client_id: str, deadline: Deadline) -> None:
        self._shedder, self._client_id, self._deadline = shedder, client_id, deadline
        self._keeping = 1  # the body, and what has not ended yet

    async def __aenter__(self) -> Self:
        await self._shedder.enter(self._client_id, self._deadline)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._shedder.count()
        self._let_go()

    def until(self, outcome: asyncio.Future[T]) -> asyncio.Future[T]:
        """Keep the place until this has an outcome; returned as it is. Inside the body."""
        self._keeping += 1
        outcome.add_done_callback(self._let_go)
        return outcome

    def _let_go(self, _: object = None) -> None:
        self._keeping -= 1
        if not self._keeping:
            self._shedder.leave(self._client_id)
