"""Work that outlives the call that began it, but never the server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Background:
    """A task group whose tasks cannot fail each other. Use as an async context manager.

    Leaving it waits for what still runs: everything given to it has a bound of its own.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Without the error: what has begun is finished, and the error is the caller's.
        await self._group.__aexit__(None, None, None)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Begin the work; its outcome stands in the future, which nobody has to look at.

        Who awaits it may be cancelled: behind `asyncio.shield` the work goes on to its end.
        """
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = self._group.create_task(_capture(work, outcome))
        task.add_done_callback(lambda _: outcome.cancel())
        return outcome


async def _capture(work: Coroutine[Any, Any, T], outcome: asyncio.Future[T]) -> None:
    try:
        result = await work
    except Exception as error:
        if not outcome.cancelled():
            outcome.set_exception(error)
            outcome.exception()  # seen: a caller that left must not make it "never retrieved"
    else:
        if not outcome.cancelled():
            outcome.set_result(result)
    finally:
        del outcome  # it holds the error that holds this frame: a circle, with the caller's photographs in it
