"""`bulk.predict_many` for asyncio: files are read, and photographs prepared, beside the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Unpack

from amulet_client.answers import Wishes
from amulet_client.asynchronous import AsyncClient
from amulet_client.errors import AmuletError
from amulet_client.work import STALL_S, Outcome, Streams, Work
from protos.amulet.v1 import prediction_pb2 as pb


async def predict_many(
    client: AsyncClient,
    objects: Sequence[tuple[Path, ...]],
    *,
    prepare: Callable[[bytes], bytes] | None = None,
    stall_s: float = STALL_S,
    **wishes: Unpack[Wishes],
) -> AsyncGenerator[Outcome, None]:
    """As bulk.predict_many; `prepare` is called in a thread. Leaving the iteration cancels what is under way."""
    work = Work(objects, prepare=prepare, **wishes)
    changed = asyncio.Event()
    streams = Streams(client.attempts())
    try:
        while True:
            try:
                async with aclosing(client.predict_stream(_requests(work, changed), stall_s=stall_s)) as results:
                    async for result in results:
                        streams.came()
                        work.came(int(result.request_id), result)
                        changed.set()
                        for outcome in work.ready():
                            yield outcome
            except AmuletError as error:
                wait_s = streams.wait_s(error)
                if wait_s is None:
                    raise
                work.begin_anew()
                changed.set()
                await client.pause(wait_s)
                continue
            for outcome in work.ready():
                yield outcome
            return
    finally:
        work.end()
        changed.set()


async def _requests(work: Work, changed: asyncio.Event) -> AsyncIterator[pb.PredictRequest]:
    """For one stream: ends when all is answered, or when the work goes on in another one."""
    stream = work.stream
    while stream == work.stream and not work.done:
        changed.clear()
        index = work.take()
        if index is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(work.wait_s()):
                    await changed.wait()
            continue
        try:
            request = await asyncio.to_thread(work.request, index)
        except (OSError, ValueError) as error:
            work.settle(index, error)
        else:
            yield request
