"""Many photographs through one stream, each answered or refused, in the order in which they were given.

A gateway that is busy says when to come again, and nothing more is sent until then; the same where it has no
place for a stream, or no longer. A stream that ends early (a gateway that restarts, a network that broke) is
opened anew and goes on with what was not answered; what was under way then is asked again and, without an
idempotency key, may leave a second record. `bulk_async` is the same for asyncio.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Unpack

from amulet_client.answers import Prediction, Wishes
from amulet_client.errors import AmuletError, Refused
from amulet_client.synchronous import Client
from amulet_client.work import STALL_S, Outcome, Result, Streams, Work
from protos.amulet.v1 import prediction_pb2 as pb

__all__ = ["Outcome", "photographs", "predict_many"]
_PHOTOGRAPHS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def photographs(paths: Iterable[Path]) -> list[Path]:
    """The files named, and those of the folders named by their ending, at any depth, sorted; none twice.

    Among them what cannot be read, so that it is told: links that lead nowhere, and folders that may not be listed.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(_inside(path))
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _inside(folder: Path) -> Iterator[Path]:
    unlisted: list[Path] = []
    for place, _, names in os.walk(folder, onerror=lambda error: unlisted.append(Path(error.filename))):
        for name in names:
            inside = Path(place, name)
            if inside.suffix.lower() in _PHOTOGRAPHS and _may_be_read(inside):
                yield inside
    yield from unlisted


def _may_be_read(path: Path) -> bool:
    """Whether reading it tells what is the matter; what waits for a writer, as a pipe does, would be waited for."""
    try:
        return path.is_file() or not path.exists()
    except OSError:
        return True


def predict_many(
    client: Client,
    objects: Sequence[tuple[Path, ...]],
    *,
    prepare: Callable[[bytes], bytes] | None = None,
    stall_s: float = STALL_S,
    **wishes: Unpack[Wishes],
) -> Iterator[Outcome]:
    """One outcome for each object, in order: an OSError or a ValueError where it could not be asked about.

    prepare: what is done to each photograph before it is sent, as `photos.shrink` does; whatever it raises is such
    an outcome, and so are photographs of more than 160 MiB together, which no gateway takes.
    idempotency_key: of the whole work; its objects get keys of their own from it, by their place. So what was under
    way when a stream broke leaves one record, and the same work begun again gets the answers that it had.
    Raises Refused where the key or what it may do is the matter, and Unreachable where no gateway
    answers, and ClientClosed: nothing was then yielded for the objects that are left.
    """
    work = _Shared(Work(objects, prepare=prepare, **wishes))
    streams = Streams(client.attempts())
    try:
        while True:
            try:
                for result in client.predict_stream(work.requests(), stall_s=stall_s):
                    streams.came()
                    work.came(int(result.request_id), result)
                    yield from work.ready()
            except AmuletError as error:
                wait_s = streams.wait_s(error)
                if wait_s is None:
                    raise
                work.begin_anew()
                client.pause(wait_s)
                continue
            yield from work.ready()
            return
    finally:
        work.end()


class _Shared:
    """Work that two threads share: grpc takes requests in one of its own for each stream."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._changed = threading.Condition()

    def requests(self) -> Iterator[pb.PredictRequest]:
        """For one stream: ends when all is answered, or when `begin_anew` or `end` was called."""
        stream = self._work.stream
        while (index := self._take(stream)) is not None:
            try:
                request = self._work.request(index)
            except (OSError, ValueError) as error:
                self._settle(index, error)
            else:
                yield request

    def _take(self, stream: int) -> int | None:
        with self._changed:
            while stream == self._work.stream and not self._work.done:
                index = self._work.take()
                if index is not None:
                    return index
                self._changed.wait(self._work.wait_s())
            return None

    def _settle(self, index: int, result: Result) -> None:
        with self._changed:
            self._work.settle(index, result)
            self._changed.notify_all()

    def came(self, index: int, result: Prediction | Refused) -> None:
        with self._changed:
            self._work.came(index, result)
            self._changed.notify_all()

    def ready(self) -> list[Outcome]:
        with self._changed:
            return self._work.ready()

    def begin_anew(self) -> None:
        with self._changed:
            self._work.begin_anew()
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._work.end()
            self._changed.notify_all()
