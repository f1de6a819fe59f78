"""How a stream of grpc.aio really ended: what grpc.aio itself does not tell, or tells wrongly.

A gateway may end a stream while its client still sends: the key is wrong, or was revoked, or
the gateway stops. A write that meets the end fails, and grpc.aio then puts INTERNAL "Internal
error from Core" in the place of the gateway's status, which arrives just before or just after
(grpc/grpc issue 36066). Of 300 streams of twenty requests that were refused at the door, 291
lost their refusal. Threads are not concerned: the synchronous client waits for the status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

import grpc
from grpc import aio

from protos.amulet.v1 import prediction_pb2 as pb

_T = TypeVar("_T")
_LOCAL: Final = "Internal error from Core"
# The status is on its way when a write fails. Only a write that was never begun has none.
_STATUS_S_MAX: Final = 5.0


class StreamEnd:
    """Keeps the status that came from the other side, whatever grpc.aio writes over it."""

    def __init__(self, call: Any) -> None:
        """call: a stream that was begun in this turn of the loop, so that no status is there yet."""
        self._status: aio.AioRpcError | None = None
        self._told = asyncio.Event()
        call.add_done_callback(self._note)

    async def error(self, reported: aio.AioRpcError) -> aio.AioRpcError | None:
        """What the stream ended with. None: it ended well, and only a late write failed.

        reported: the error that reading raised; returned as it is unless it stands for a failed write.
        """
        if reported.code() is not grpc.StatusCode.INTERNAL or reported.details() != _LOCAL:
            return reported
        try:
            async with asyncio.timeout(_STATUS_S_MAX):
                await self._told.wait()
        except TimeoutError:
            return reported
        return self._status

    def _note(self, call: Any) -> None:
        """grpc.aio calls this each time that it sets a status, before anything can read it."""
        code, details = _now(call.code()), _now(call.details())
        if self._told.is_set() or (code is grpc.StatusCode.INTERNAL and details == _LOCAL):
            return
        if code is not grpc.StatusCode.OK:
            self._status = aio.AioRpcError(code, aio.Metadata(), _now(call.trailing_metadata()), details=details)
        self._told.set()


class Given:
    """The caller's requests, and what they raised: grpc.aio drops it and cancels the call."""

    def __init__(
        self,
        requests: Iterable[pb.PredictRequest] | AsyncIterable[pb.PredictRequest],
        asked: Callable[[], None],
    ) -> None:
        """asked: called before each request is handed on."""
        self._requests, self._asked = requests, asked
        self.failure: Exception | None = None

    async def requests(self) -> AsyncIterator[pb.PredictRequest]:
        try:
            if isinstance(self._requests, AsyncIterable):
                async for request in self._requests:
                    self._asked()
                    yield request
            else:
                for request in self._requests:
                    self._asked()
                    yield request
        except Exception as error:
            self.failure = error
            raise


def _now(status: Coroutine[Any, Any, _T]) -> _T:
    """The value of a coroutine that has nothing to wait for."""
    try:
        status.send(None)
    except StopIteration as ended:
        value: _T = ended.value
        return value
    raise AssertionError("a stream that has ended waits for its status")
