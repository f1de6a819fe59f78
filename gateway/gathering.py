"""Several pieces of work at once, all of them or the first failure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def all_of(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results, in order. The first that fails ends the others, and its error is raised by itself."""
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(work) for work in works]
        return [task.result() for task in tasks]
    except ExceptionGroup as failed:
        # An error that leads back to itself keeps its frames, and the photographs in them, until the garbage is
        # collected. So it is raised outside of this handler, no name of ours stays bound to it, and the group loses
        # its trace, in which TaskGroup's own frame names it (Python 3.11).
        first, failed.__traceback__ = failed.exceptions[0], None
    try:
        raise first
    finally:
        del first
        tasks.clear()
