"""A client that its own program closed: one error of ours, whatever was under way, and nothing is waited for."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest

from amulet_client import AsyncClient, Client, ClientClosed, Prediction, bulk, bulk_async
from amulet_client.answers import request_of
from protos.amulet.v1 import prediction_pb2 as pb
from protos.amulet.v1 import prediction_pb2_grpc as rpc
from tests.unit.client.cast import KEY, Gateway

Call = Callable[["Wrapped"], Awaitable[Any]]


class Silent(Gateway):
    """Takes every call and answers none before it is let go; a stream gets one answer."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.Model:
        self.called.set()
        self.let_go.wait(30)
        return super().GetModel(request, context)

    def PredictStream(
        self, request_iterator: Iterator[pb.PredictRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamResult]:
        for result in super().PredictStream(request_iterator, context):
            yield result
            self.called.set()
            self.let_go.wait(30)


@pytest.fixture
def gateway() -> Iterator[tuple[Silent, str]]:
    server, service = grpc.server(ThreadPoolExecutor(4)), Silent()
    rpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    service.let_go.set()
    server.stop(None).wait()


class Wrapped(Protocol):
    """Either client, awaited."""

    async def call(self, name: str, *arguments: Any, **wishes: Any) -> Any: ...
    async def stream(self, photos: list[bytes]) -> list[Any]: ...
    async def many(self, photo: Path) -> list[Any]: ...
    async def close(self) -> None: ...


class Threads:
    def __init__(self, address: str, **options: Any) -> None:
        self._client = Client(address, api_key=KEY, plaintext=True, **options)

    async def call(self, name: str, *arguments: Any, **wishes: Any) -> Any:
        return await asyncio.to_thread(getattr(self._client, name), *arguments, **wishes)

    async def stream(self, photos: list[bytes]) -> list[Any]:
        requests = [request_of([photo]) for photo in photos]
        return await asyncio.to_thread(lambda: list(self._client.predict_stream(requests)))

    async def many(self, photo: Path) -> list[Any]:
        return await asyncio.to_thread(lambda: list(bulk.predict_many(self._client, [(photo,)])))

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)


class Loop:
    def __init__(self, address: str, **options: Any) -> None:
        self._client = AsyncClient(address, api_key=KEY, plaintext=True, **options)

    async def call(self, name: str, *arguments: Any, **wishes: Any) -> Any:
        return await getattr(self._client, name)(*arguments, **wishes)

    async def stream(self, photos: list[bytes]) -> list[Any]:
        return [each async for each in self._client.predict_stream([request_of([photo]) for photo in photos])]

    async def many(self, photo: Path) -> list[Any]:
        return [each async for each in bulk_async.predict_many(self._client, [(photo,)])]

    async def close(self) -> None:
        await self._client.close()


@pytest.fixture(params=[Threads, Loop])
def kind(request: pytest.FixtureRequest) -> Callable[..., Wrapped]:
    made: Callable[..., Wrapped] = request.param
    return made


CALLS: dict[str, Call] = {
    "predict": lambda client: client.call("predict", [b"amulet"]),
    "feedback": lambda client: client.call("feedback", "p1", kind="wrong"),
    "list_models": lambda client: client.call("list_models"),
    "get_model": lambda client: client.call("get_model", "amulets"),
    "health": lambda client: client.call("health"),
    "predict_stream": lambda client: client.stream([b"amulet"]),
    "predict_many": lambda client: client.many(Path(__file__)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_after_the_end_says_that_the_client_is_closed(
    gateway: tuple[Silent, str], kind: Callable[..., Wrapped], call: Call
) -> None:
    client = kind(gateway[1])
    await client.close()

    with pytest.raises(ClientClosed, match="this client is closed"):
        await call(client)


@pytest.mark.parametrize("call", [CALLS["get_model"], CALLS["predict_stream"]], ids=["call", "stream"])
async def test_what_is_under_way_ends_as_closed_and_not_as_cancelled(
    gateway: tuple[Silent, str], kind: Callable[..., Wrapped], call: Call
) -> None:
    client = kind(gateway[1])
    asked = asyncio.ensure_future(call(client))
    assert await asyncio.to_thread(gateway[0].called.wait, 30)

    await client.close()

    with pytest.raises(ClientClosed):
        await asyncio.wait_for(asked, 30)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_what_was_begun_in_the_same_turn_of_the_loop_ends_as_closed(
    gateway: tuple[Silent, str], call: Call
) -> None:
    client = Loop(gateway[1])
    asked = asyncio.ensure_future(call(client))
    await asyncio.sleep(0)

    await client.close()

    with pytest.raises(ClientClosed):
        await asyncio.wait_for(asked, 30)


async def test_a_task_that_is_cancelled_stays_cancelled_though_the_client_is_closed(
    gateway: tuple[Silent, str],
) -> None:
    client = AsyncClient(gateway[1], api_key=KEY, plaintext=True)
    asked = asyncio.ensure_future(client.get_model("amulets"))
    assert await asyncio.to_thread(gateway[0].called.wait, 30)

    asked.cancel()
    await client.close()

    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_closing_cuts_a_wait_for_a_busy_gateway_short(
    gateway: tuple[Silent, str], kind: Callable[..., Wrapped]
) -> None:
    client = kind(gateway[1], wait_s_max=1000)
    asked = asyncio.ensure_future(client.call("predict", [b"limited for long"]))  # it is told to come in ten minutes
    assert await asyncio.to_thread(gateway[0].called.wait, 30)

    await client.close()

    with pytest.raises(ClientClosed):
        await asyncio.wait_for(asked, 30)
    assert gateway[0].calls == 1


class NoPlace(Gateway):
    """Has no place for a stream, and says to come again in ten minutes."""

    def PredictStream(
        self, request_iterator: Iterator[pb.PredictRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamResult]:
        self.Predict(pb.PredictRequest(views=[pb.View(photo=b"limited for long")]), context)
        yield pb.StreamResult()


async def test_closing_cuts_the_wait_for_another_stream_short(kind: Callable[..., Wrapped], tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"amulet")
    server, service = grpc.server(ThreadPoolExecutor(4)), NoPlace()
    rpc.add_PredictionServiceServicer_to_server(service, server)
    client = kind(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    try:
        asked = asyncio.ensure_future(client.many(tmp_path / "photo.jpg"))
        assert await asyncio.to_thread(service.called.wait, 30)
        await client.close()
        with pytest.raises(ClientClosed):
            await asyncio.wait_for(asked, 30)
    finally:
        server.stop(None).wait()


class SlowFile:
    """A file that has its bytes when somebody lets it; a named pipe."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "photo.jpg"
        os.mkfifo(self.path)
        self.opened, self._may_end = threading.Event(), threading.Event()
        self.was_let = False
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def _write(self) -> None:
        with self.path.open("wb") as file:  # waits for whoever reads
            self.opened.set()
            self.was_let = self._may_end.wait(20)  # a reader that holds up everybody else is let go all the same
            file.write(b"amulet")

    def let(self) -> None:
        self._may_end.set()


@pytest.fixture
async def ready(gateway: tuple[Silent, str]) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(gateway[1], api_key=KEY, plaintext=True) as client:
        yield client


@pytest.mark.parametrize("of", [lambda path: path, str], ids=["path", "text"])
async def test_a_file_that_is_slow_does_not_hold_up_the_loop(
    ready: AsyncClient, tmp_path: Path, of: Callable[[Path], Path | str]
) -> None:
    slow = SlowFile(tmp_path)
    asked = asyncio.ensure_future(ready.predict([of(slow.path), b"amulet"]))

    assert await asyncio.to_thread(slow.opened.wait, 30)
    assert isinstance(await ready.predict([b"amulet"]), Prediction)  # another call, answered meanwhile
    slow.let()

    assert isinstance(await asked, Prediction)
    assert slow.was_let


async def test_a_client_that_is_closed_while_a_file_is_read_asks_nobody(
    gateway: tuple[Silent, str], ready: AsyncClient, tmp_path: Path
) -> None:
    slow = SlowFile(tmp_path)
    asked = asyncio.ensure_future(ready.predict([slow.path]))
    assert await asyncio.to_thread(slow.opened.wait, 30)

    await ready.close()
    slow.let()

    with pytest.raises(ClientClosed):
        await asked
    assert gateway[0].calls == 0


async def test_a_file_that_cannot_be_read_is_still_an_oserror(ready: AsyncClient, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await ready.predict([tmp_path / "nowhere.jpg"])
