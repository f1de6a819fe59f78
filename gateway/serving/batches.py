"""Calls that come together go to the backend in one request.

What a request costs besides its images (HTTP/2, protobuf, Java, two sockets, the handler) is then paid
once for all of them. When to send is Nagle's question, and his answer (RFC 896): at once when nothing of
the kind is under way, so that a lone call waits for nobody; else when the answer under way has come, or
when a request is full. One thing is added (decision 0140): beside a single request a second one goes out
as soon as it holds half of those who are here, so that the worker finds it when it ends the first.

Callers share a request and not its fate: each has its own deadline, one who leaves is left out, and a
request that the backend finds faulty is asked again call by call, so that only the faulty one fails.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, NamedTuple, Self

from gateway.errors import DeadlineExceeded, Refusal
from gateway.serving.torchserve import NO_EXTRAS, Backend, BackendFaulty, Extras, GraphImage, GraphResult

IMAGES_MAX: Final = 8  # of one request: what a handler takes
_CROWD_S: Final = 0.2  # how long the most that were here count: some requests long


class _Kind(NamedTuple):
    """What the calls of one request have in common."""

    backend_name: str
    version: str
    extras: Extras


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    images: Sequence[GraphImage]
    ends_at_s: float
    result: asyncio.Future[GraphResult]  # done when nobody waits for it any more, too


@dataclass(slots=True, eq=False)
class _Request:
    """Calls that were sent together."""

    calls: Sequence[_Call]

    @property
    def images(self) -> int:
        return sum(len(call.images) for call in self.calls)


@dataclass(slots=True)
class _Lane:
    """The calls of one kind."""

    kind: _Kind
    waiting: list[_Call] = field(default_factory=list)  # in the order in which they came
    under_way: set[_Request] = field(default_factory=set)
    crowd: int = 0  # the most images that lately waited or were under way together
    crowd_at_s: float = 0.0

    def add(self, call: _Call, now_s: float) -> None:
        self.waiting.append(call)
        here = self.images_waiting + sum(request.images for request in self.under_way)
        if here >= self.crowd or now_s - self.crowd_at_s > _CROWD_S:
            self.crowd, self.crowd_at_s = here, now_s

    def take(self) -> list[_Call]:
        """The next request: as many calls as it has room for, and never none of those that wait."""
        taken, images = 0, 0
        for call in self.waiting:
            images += len(call.images)
            if taken and images > IMAGES_MAX:
                break
            taken += 1
        batch, self.waiting = self.waiting[:taken], self.waiting[taken:]
        return batch

    @property
    def images_waiting(self) -> int:
        return sum(len(call.images) for call in self.waiting)

    @property
    def is_due(self) -> bool:
        if not self.waiting or not self.under_way:
            return bool(self.waiting)
        images = self.images_waiting
        # Two at least: a single one would cost a request of its own and gain little. Two at most under way: they
        # would become as small as they are many.
        is_second = len(self.under_way) == 1 and images >= max(2, math.ceil(self.crowd / 2))
        return is_second or images >= IMAGES_MAX


class Batches:
    """A backend in front of a backend. Use as an async context manager: leaving ends what is under way."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lanes: dict[_Kind, _Lane] = {}
        self._here = 0  # calls of every kind
        self._company_at_s = -math.inf  # when there last was more than one
        self._requests = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._requests.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Without the error, which is the caller's: every request ends by the deadline of its calls.
        await self._requests.__aexit__(None, None, None)

    async def predict(
        self,
        backend_name: str,
        version: str,
        images: Sequence[GraphImage],
        *,
        extras: Extras = NO_EXTRAS,
        alone: bool = False,
        deadline_s: float,
    ) -> GraphResult:
        """As the backend's own, but `batch_images` of the result counts strangers' images too.

        alone: is seen here, whatever a caller thinks.
        """
        kind = _Kind(backend_name, version, extras)
        lane = self._lanes.get(kind) or self._lanes.setdefault(kind, _Lane(kind))
        now_s = time.monotonic()
        call = _Call(images, now_s + deadline_s, asyncio.get_running_loop().create_future())
        lane.add(call, now_s)
        self._here += 1
        if self._here > 1:
            self._company_at_s = now_s
        self._send_what_is_due(lane)
        try:
            async with asyncio.timeout(deadline_s):
                return await call.result
        except TimeoutError:
            raise DeadlineExceeded(f"the model did not answer within {deadline_s:.3g} s") from None
        finally:
            self._here -= 1
            if call in lane.waiting:
                lane.waiting.remove(call)
            del call  # it holds the error that holds this frame: a circle, with the caller's photographs in it

    def _send_what_is_due(self, lane: _Lane) -> None:
        while lane.is_due:
            self._send(lane, lane.take())
        if not lane.under_way:
            self._lanes.pop(lane.kind, None)

    def _send(self, lane: _Lane, calls: Sequence[_Call]) -> None:
        request = _Request(calls)
        lane.under_way.add(request)
        task = self._requests.create_task(self._ask(lane, request))

        def end_when_nobody_waits(_: object) -> None:
            if all(call.result.done() for call in calls):
                task.cancel()

        for call in calls:
            call.result.add_done_callback(end_when_nobody_waits)
        task.add_done_callback(lambda _: self._ended(lane, request))  # also one that was cancelled before it began

    def _ended(self, lane: _Lane, request: _Request) -> None:
        if request in lane.under_way:
            lane.under_way.remove(request)
            self._send_what_is_due(lane)

    async def _ask(self, lane: _Lane, request: _Request) -> None:
        calls = request.calls
        try:
            result = await self._backend.predict(
                lane.kind.backend_name,
                lane.kind.version,
                [image for call in calls for image in call.images],
                extras=lane.kind.extras,
                alone=self._here == 1 and time.monotonic() - self._company_at_s > _CROWD_S,
                deadline_s=max(call.ends_at_s for call in calls) - time.monotonic(),
            )
        except Exception as error:
            if isinstance(error, Refusal):
                error.__traceback__ = None  # as above: its frames hold all calls
            still = [call for call in calls if not call.result.done()]
            if isinstance(error, BackendFaulty) and len(calls) > 1:
                for call in still:
                    self._send(lane, [call])
            else:
                for call in still:
                    call.result.set_exception(error)
                    call.result.exception()  # seen, although its caller may leave in this very moment
            return
        # The worker first, which has nothing to do; those who wait have work of their own, a millisecond each.
        self._ended(lane, request)
        await asyncio.sleep(0)
        first = 0
        for call in calls:
            last = first + len(call.images)
            if not call.result.done():
                call.result.set_result(replace(result, outputs=result.outputs[first:last]))
            first = last
