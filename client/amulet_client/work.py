"""What of so many objects is still to be asked, is under way, or is settled; and when a stream is opened anew.

Without threads, loops or waiting: `bulk` and `bulk_async` do those, each in its own way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Unpack

from amulet_client.answers import Prediction, View, Wishes, request_of
from amulet_client.connection import PHOTOS_BYTES_MAX
from amulet_client.errors import AmuletError, Refused, Unreachable
from amulet_client.repeating import Attempts
from protos.amulet.v1 import prediction_pb2 as pb

AT_ONCE: Final = 16  # twice what a gateway works on of one stream, so that it never waits for us
STALL_S: Final = 60.0  # a gateway answers each request within 30 seconds by itself
_STREAMS_IN_VAIN_MAX: Final = 5  # one after the other, without an answer
_UNAVAILABLE_MAX: Final = 5  # for one photograph, when the gateway answers but cannot
_REOPEN_S: Final = 1.0
# The next request would meet the same.
ABOUT_THE_CALLER: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
Result = Prediction | Refused | OSError | ValueError  # the last two: the request could not be made


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object's photographs."""

    photos: tuple[Path, ...]
    result: Result

    @property
    def name(self) -> str:
        return name_of(self.photos)


def name_of(photos: Sequence[Path]) -> str:
    return ", ".join(map(str, photos))


class Work:
    """Objects, and what became of each. Not safe for threads."""

    def __init__(
        self,
        objects: Sequence[tuple[Path, ...]],
        *,
        prepare: Callable[[bytes], bytes] | None,
        **wishes: Unpack[Wishes],
    ) -> None:
        """prepare: what is done to each photograph before it is sent; where it fails, only its object has no answer.

        Under an idempotency key each object has its own: the key, "#" and its place among the objects, from 0.
        """
        self._objects, self._prepare, self._wishes = objects, prepare, wishes
        self._todo = deque(range(len(objects)))
        self._under_way: set[int] = set()
        self._tries: dict[int, int] = {}
        self._settled: dict[int, Result] = {}
        self._next = 0  # the first that is not handed out
        self._not_before_s = 0.0
        self.stream = 0  # a number; those who ask for another one are to stop

    def request(self, index: int) -> pb.PredictRequest:
        """Reads the photographs. Raises OSError and ValueError, whatever `prepare` raises."""
        photos = self._objects[index]
        if self._prepare is None:  # a film by the ending of a photograph is not read into memory
            _check_size(sum(path.stat().st_size for path in photos))
        views = [View.of(path) for path in photos]
        if self._prepare is not None:
            views = [View(_prepared(view.photo, self._prepare), view.side) for view in views]
        _check_size(sum(len(view.photo) for view in views))
        asked = request_of(views, **self._wishes)
        asked.request_id = str(index)
        if asked.idempotency_key:
            asked.idempotency_key += f"#{index}"
        return asked

    @property
    def done(self) -> bool:
        """Whether nothing is left to ask, nor under way."""
        return not self._todo and not self._under_way

    def take(self) -> int | None:
        """One to ask now, which is under way then; None: there is none (see `wait_s`)."""
        if not self._todo or len(self._under_way) >= AT_ONCE or time.monotonic() < self._not_before_s:
            return None
        index = self._todo.popleft()
        self._under_way.add(index)
        return index

    def wait_s(self) -> float | None:
        """After how long there may be one to take; None: not before something comes."""
        wait_s = self._not_before_s - time.monotonic()
        return wait_s if self._todo and wait_s > 0 else None

    def came(self, index: int, result: Prediction | Refused) -> None:
        """Raises a refusal that the next request would meet, too."""
        if isinstance(result, Refused):
            if result.code in ABOUT_THE_CALLER:
                raise result
            if result.retry_after_s is not None and self._may_try_again(index, result):
                self._put_off(index, result.retry_after_s)
                return
        self.settle(index, result)

    def _may_try_again(self, index: int, refusal: Refused) -> bool:
        if refusal.code == "RESOURCE_EXHAUSTED":  # busy, or too many calls in a minute: waiting surely helps
            return True
        self._tries[index] = self._tries.get(index, 0) + 1
        return self._tries[index] < _UNAVAILABLE_MAX

    def _put_off(self, index: int, after_s: float) -> None:
        self._under_way.discard(index)
        self._todo.appendleft(index)
        self._not_before_s = max(self._not_before_s, time.monotonic() + after_s)

    def settle(self, index: int, result: Result) -> None:
        self._under_way.discard(index)
        self._settled[index] = result

    def ready(self) -> list[Outcome]:
        """What is settled, was not handed out, and has no predecessor that is not settled."""
        found = []
        while self._next in self._settled:
            found.append(Outcome(self._objects[self._next], self._settled.pop(self._next)))
            self._next += 1
        return found

    def begin_anew(self) -> None:
        """The stream has ended: what was under way is to be asked again, before all else."""
        self._todo.extendleft(sorted(self._under_way, reverse=True))
        self._under_way.clear()
        self.stream += 1

    def end(self) -> None:
        self.stream += 1


def _check_size(photos_bytes: int) -> None:
    """Raises ValueError: a message that is too large would end the stream for all others."""
    if photos_bytes > PHOTOS_BYTES_MAX:
        raise ValueError(f"{photos_bytes:,} bytes of photographs are more than one request holds: {PHOTOS_BYTES_MAX:,}")


def _prepared(photo: bytes, prepare: Callable[[bytes], bytes]) -> bytes:
    """Raises OSError and ValueError."""
    try:
        return prepare(photo)
    except (OSError, ValueError):
        raise
    except Exception as error:  # it is the caller's own, and the other objects are not to suffer for it
        raise ValueError(f"cannot be prepared: {type(error).__name__}: {error}") from error


class Streams:
    """The streams of one piece of work, one after the other."""

    def __init__(self, first: Attempts) -> None:
        """first: to open one, before anything was answered."""
        self._first = first
        self._in_vain, self._answered = 0, False

    def came(self) -> None:
        """An answer or a refusal of one request."""
        self._in_vain, self._answered = 0, True

    def wait_s(self, error: AmuletError) -> float | None:
        """How long to wait before another is opened in the place of one that ended so; None: it is of no use."""
        self._in_vain += 1
        if self._in_vain > _STREAMS_IN_VAIN_MAX:
            return None
        if isinstance(error, Refused) and error.code == "RESOURCE_EXHAUSTED" and error.retry_after_s:
            return error.retry_after_s
        broken = isinstance(error, Unreachable) or (isinstance(error, Refused) and error.code == "UNAVAILABLE")
        return _REOPEN_S * self._in_vain if broken and self._answered else self._first.wait_s(error)
