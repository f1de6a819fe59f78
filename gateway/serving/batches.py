"""Calls that come together go to the backend in one request.

What a request costs besides its images (HTTP/2, protobuf, Java, two sockets, the handler) is then paid
once for all of them. When to send is Nagle's question, and his answer (RFC 896): at once when nothing of
the kind is under way, so that a lone call waits for nobody; else when the answer under way has come, or
when a request is full.

Callers share a request and not its fate: each has its own deadline, one who leaves is left out, and a
request that the backend finds faulty is asked again call by call, so that only the faulty one fails.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, NamedTuple, Self

from gateway.errors import DeadlineExceeded, Refusal
from gateway.serving.torchserve import NO_EXTRAS, Backend, BackendFaulty, Extras, GraphImage, GraphResult

IMAGES_MAX: Final = 8  # of one request: what a handler takes


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


@dataclass(slots=True)
class _Lane:
    """The calls of one kind."""

    kind: _Kind
    waiting: list[_Call] = field(default_factory=list)  # in the order in which they came
    under_way: int = 0  # requests

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
    def is_due(self) -> bool:
        return bool(self.waiting) and (
            not self.under_way or sum(len(call.images) for call in self.waiting) >= IMAGES_MAX
        )


class Batches:
    """A backend in front of a backend. Use as an async context manager: leaving ends what is under way."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lanes: dict[_Kind, _Lane] = {}
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
        deadline_s: float,
    ) -> GraphResult:
        """As the backend's own, but `batch_images` of the result counts strangers' images too."""
        kind = _Kind(backend_name, version, extras)
        lane = self._lanes.get(kind) or self._lanes.setdefault(kind, _Lane(kind))
        call = _Call(images, time.monotonic() + deadline_s, asyncio.get_running_loop().create_future())
        lane.waiting.append(call)
        self._send_what_is_due(lane)
        try:
            async with asyncio.timeout(deadline_s):
                return await call.result
        except TimeoutError:
            raise DeadlineExceeded(f"the model did not answer within {deadline_s:.3g} s") from None
        finally:
            if call in lane.waiting:
                lane.waiting.remove(call)
            del call  # it holds the error that holds this frame: a circle, with the caller's photographs in it

    def _send_what_is_due(self, lane: _Lane) -> None:
        while lane.is_due:
            self._send(lane, lane.take())
        if not lane.under_way:
            self._lanes.pop(lane.kind, None)

    def _send(self, lane: _Lane, calls: Sequence[_Call]) -> None:
        lane.under_way += 1
        request = self._requests.create_task(self._ask(lane, calls))

        def end_when_nobody_waits(_: object) -> None:
            if all(call.result.done() for call in calls):
                request.cancel()

        def ended(_: object) -> None:
            lane.under_way -= 1
            self._send_what_is_due(lane)

        for call in calls:
            call.result.add_done_callback(end_when_nobody_waits)
        request.add_done_callback(ended)

    async def _ask(self, lane: _Lane, calls: Sequence[_Call]) -> None:
        try:
            result = await self._backend.predict(
                lane.kind.backend_name,
                lane.kind.version,
                [image for call in calls for image in call.images],
                extras=lane.kind.extras,
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
        first = 0
        for call in calls:
            last = first + len(call.images)
            if not call.result.done():
                call.result.set_result(replace(result, outputs=result.outputs[first:last]))
            first = last
