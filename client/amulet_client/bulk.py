"""Many photographs through one stream, each answered or refused, in the order in which they were given.

A gateway that is busy says when to come again, and nothing more is sent until then; the same where it has no
place for a stream, or no longer. A stream that ends early (a gateway that restarts, a network that broke) is
opened anew and goes on with what was not answered; what was under way then is asked again and may leave a
second record.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Unpack

from amulet_client.answers import Prediction, View, Wishes, request_of
from amulet_client.errors import AmuletError, Refused, Unreachable
from amulet_client.synchronous import Client
from protos.amulet.v1 import prediction_pb2 as pb

AT_ONCE: Final = 16  # twice what a gateway works on of one stream, so that it never waits for us
STALL_S: Final = 60.0  # a gateway answers each request within 30 seconds by itself
_STREAMS_IN_VAIN_MAX: Final = 5  # one after the other, without an answer
_UNAVAILABLE_MAX: Final = 5  # for one photograph, when the gateway answers but cannot
_REOPEN_S: Final = 1.0
_PHOTOGRAPHS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
# The next request would meet the same.
ABOUT_THE_CALLER: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object's photographs."""

    photos: tuple[Path, ...]
    result: Prediction | Refused | OSError | ValueError  # the last two: the request could not be made

    @property
    def name(self) -> str:
        return name_of(self.photos)


def name_of(photos: Sequence[Path]) -> str:
    return ", ".join(map(str, photos))


def photographs(paths: Iterable[Path]) -> list[Path]:
    """The files named, and those of the folders named by their ending, at any depth, sorted; none twice."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                inside for inside in path.rglob("*") if inside.suffix.lower() in _PHOTOGRAPHS and inside.is_file()
            )
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def predict_many(
    client: Client,
    objects: Sequence[tuple[Path, ...]],
    *,
    prepare: Callable[[bytes], bytes] | None = None,
    stall_s: float = STALL_S,
    **wishes: Unpack[Wishes],
) -> Iterator[Outcome]:
    """One outcome for each object, in order.

    prepare: what is done to each photograph before it is sent, as `photos.shrink` does.
    Raises Refused where the key or what it may do is the matter, and Unreachable where no gateway
    answers: nothing was then yielded for the objects that are left.
    """

    def request(index: int) -> pb.PredictRequest:
        views = [View.of(path) for path in objects[index]]
        if prepare is not None:
            views = [View(prepare(view.photo), view.side) for view in views]
        asked = request_of(views, **wishes)
        asked.request_id = str(index)
        return asked

    work = _Work(len(objects), request)
    in_vain, answered, first = 0, False, client.attempts()
    try:
        while True:
            try:
                for result in client.predict_stream(work.requests(), stall_s=stall_s):
                    in_vain, answered = 0, True
                    work.came(int(result.request_id), result)
                    yield from (Outcome(objects[index], outcome) for index, outcome in work.ready())
            except AmuletError as error:
                in_vain += 1
                told_to_wait = isinstance(error, Refused) and error.code == "RESOURCE_EXHAUSTED" and error.retry_after_s
                broken = isinstance(error, Unreachable) or (isinstance(error, Refused) and error.code == "UNAVAILABLE")
                if in_vain > _STREAMS_IN_VAIN_MAX:
                    raise
                if told_to_wait:
                    wait_s: float | None = told_to_wait
                elif broken and answered:
                    wait_s = _REOPEN_S * in_vain
                else:
                    wait_s = first.wait_s(error)
                if wait_s is None:
                    raise
                work.begin_anew()
                time.sleep(wait_s)
                continue
            yield from (Outcome(objects[index], outcome) for index, outcome in work.ready())
            return
    finally:
        work.end()


class _Work:
    """What is still to be asked. grpc takes requests in a thread of its own, one for each stream."""

    def __init__(self, count: int, request: Callable[[int], pb.PredictRequest]) -> None:
        self._request = request
        self._todo = deque(range(count))
        self._under_way: set[int] = set()
        self._tries: dict[int, int] = {}
        self._settled: dict[int, Prediction | Refused | OSError | ValueError] = {}
        self._next = 0  # the first that is not handed out
        self._not_before_s = 0.0
        self._stream = 0
        self._changed = threading.Condition()

    def requests(self) -> Iterator[pb.PredictRequest]:
        """For one stream: ends when all is answered, or when `begin_anew` or `end` was called."""
        stream = self._stream
        while True:
            index = self._take(stream)
            if index is None:
                return
            try:
                request = self._request(index)
            except (OSError, ValueError) as error:
                self._settle(index, error)
            else:
                yield request

    def _take(self, stream: int) -> int | None:
        with self._changed:
            while stream == self._stream:
                wait_s = self._not_before_s - time.monotonic()
                if not self._todo and not self._under_way:
                    return None
                if self._todo and wait_s <= 0 and len(self._under_way) < AT_ONCE:
                    index = self._todo.popleft()
                    self._under_way.add(index)
                    return index
                self._changed.wait(wait_s if self._todo and wait_s > 0 else None)
            return None

    def came(self, index: int, result: Prediction | Refused) -> None:
        """Raises a refusal that the next request would meet, too."""
        if isinstance(result, Refused):
            if result.code in ABOUT_THE_CALLER:
                raise result
            if result.retry_after_s is not None and self._may_try_again(index, result):
                self._put_off(index, result.retry_after_s)
                return
        self._settle(index, result)

    def _may_try_again(self, index: int, refusal: Refused) -> bool:
        if refusal.code == "RESOURCE_EXHAUSTED":  # busy, or too many calls in a minute: waiting surely helps
            return True
        self._tries[index] = self._tries.get(index, 0) + 1
        return self._tries[index] < _UNAVAILABLE_MAX

    def _put_off(self, index: int, after_s: float) -> None:
        with self._changed:
            self._under_way.discard(index)
            self._todo.appendleft(index)
            self._not_before_s = max(self._not_before_s, time.monotonic() + after_s)
            self._changed.notify_all()

    def _settle(self, index: int, result: Prediction | Refused | OSError | ValueError) -> None:
        with self._changed:
            self._under_way.discard(index)
            self._settled[index] = result
            self._changed.notify_all()

    def ready(self) -> list[tuple[int, Prediction | Refused | OSError | ValueError]]:
        """What is settled and has no predecessor that is not."""
        with self._changed:
            found = []
            while self._next in self._settled:
                found.append((self._next, self._settled.pop(self._next)))
                self._next += 1
            return found

    def begin_anew(self) -> None:
        """The stream has ended: what was under way is to be asked again, before all else."""
        with self._changed:
            self._todo.extendleft(sorted(self._under_way, reverse=True))
            self._under_way.clear()
            self._stream += 1
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._stream += 1
            self._changed.notify_all()
