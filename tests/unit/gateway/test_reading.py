"""What gRPC hands over: whole messages whose read is given up, over a real port, and long ones in turns."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import grpc
import pytest
from grpc import aio

from gateway.admission.turns import Turns
from gateway.memory import resident_bytes, trimmer
from gateway.reading import Reading

MIB: Final = 2**20
MESSAGE_MIB: Final = 32
CALLS: Final = 5
METHOD: Final = "/of.tests/Give"


class Context:
    """A call whose read tells what it waits for."""

    def __init__(self, context: Any, tell: Callable[[asyncio.Future[None]], None]) -> None:
        self._context, self._tell = context, tell

    def read(self) -> Any:
        return Told(self._context.read(), self._tell)


class Told:
    def __init__(self, reading: Coroutine[Any, Any, Any], tell: Callable[[asyncio.Future[None]], None]) -> None:
        self._reading, self._tell = reading, tell

    def send(self, value: None) -> asyncio.Future[None]:
        coming: asyncio.Future[None] = self._reading.send(value)
        self._tell(coming)
        return coming


def bytes_to(kind: Any) -> Any:
    """The method as one that takes bytes as they are, of which the stubs know none."""
    return kind(METHOD)


@pytest.mark.parametrize("handed_over", [False, True], ids=["before it is handed over", "as it is handed over"])
async def test_a_message_whose_read_is_given_up_as_it_is_whole_is_not_kept(handed_over: bool) -> None:
    given_up = 0

    async def serve(_: object, context: Any) -> bytes:
        nonlocal given_up
        coming: list[asyncio.Future[None]] = []

        def tell(future: asyncio.Future[None]) -> None:
            coming.append(future)
            if not handed_over:
                give_up()

        def give_up() -> None:
            coming[0].add_done_callback(lambda _: reading.cancel())

        reading = asyncio.ensure_future(Reading().next("client", Context(context, tell)))  # type: ignore[arg-type]  # it only reads
        if handed_over:
            await asyncio.sleep(0)  # it has begun to wait
            give_up()
        with pytest.raises(asyncio.CancelledError):
            await reading
        given_up += 1
        context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
        return b""

    trim = trimmer() or (lambda: None)
    server = aio.server(options=(("grpc.max_receive_message_length", -1),))
    handler: Any = grpc.stream_unary_rpc_method_handler(serve)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("of.tests", {"Give": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        held, give = [], bytes_to(channel.unary_unary)
        for _ in range(CALLS):
            with pytest.raises(aio.AioRpcError):
                await give(bytes(MESSAGE_MIB * MIB))
            trim()
            held.append(resident_bytes())
    await server.stop(0)

    assert given_up == CALLS
    assert held[-1] - held[0] < (CALLS - 2) * MESSAGE_MIB * MIB


async def test_what_is_read_is_a_message_and_then_the_end() -> None:
    found = []

    async def serve(_: object, context: Any) -> bytes:
        found.extend([await Reading().next("client", context) for _ in range(3)])
        return b"heard"

    server = aio.server()
    handler: Any = grpc.stream_unary_rpc_method_handler(serve)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("of.tests", {"Give": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await bytes_to(channel.stream_unary)(iter([b"one", b""])) == b"heard"
    await server.stop(0)

    assert found == [b"one", b"", aio.EOF]


class Long:
    """A call whose message gRPC has, and takes a while to hand over."""

    TAKES_S: Final = 0.03  # more than what is short

    def __init__(self, name: str, handed_over: list[tuple[str, float, float]]) -> None:
        self._name, self._handed_over = name, handed_over
        self.here: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked = False

    def read(self) -> Long:
        return self

    def send(self, _: None) -> asyncio.Future[None]:
        if not self._asked:
            self._asked = True
            return self.here
        began_s = time.monotonic()
        time.sleep(self.TAKES_S)  # as gRPC, which copies
        self._handed_over.append((self._name, began_s, time.monotonic()))
        raise StopIteration(self._name)


async def test_long_messages_are_handed_over_in_turns_and_leave_others_as_much_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.reading._AT_ONCE_S", 0.0)  # all of them took a while to come
    handed_over: list[tuple[str, float, float]] = []
    reading = Reading()
    calls = [(name.split("-")[0], Long(name, handed_over)) for name in ("greedy-1", "greedy-2", "greedy-3", "polite-1")]
    waiting = [asyncio.ensure_future(reading.next(owner, call)) for owner, call in calls]  # type: ignore[arg-type]  # it only reads
    await asyncio.sleep(0)
    for _, call in calls:
        call.here.set_result(None)

    answers = await asyncio.gather(*waiting)

    assert answers == ["greedy-1", "greedy-2", "greedy-3", "polite-1"]
    # The first finds nobody before it; of the others each client's next in turn.
    assert [name for name, _, _ in handed_over] == ["greedy-1", "greedy-2", "polite-1", "greedy-3"]
    for (_, _, ended_s), (_, began_s, _) in itertools.pairwise(handed_over):
        assert began_s - ended_s > 0.9 * Long.TAKES_S


async def test_who_waits_for_a_turn_and_leaves_is_passed_over_and_his_message_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.reading._AT_ONCE_S", 0.0)
    handed_over: list[tuple[str, float, float]] = []
    reading = Reading()
    calls = [Long(name, handed_over) for name in ("first", "leaves", "stays")]
    waiting = [asyncio.ensure_future(reading.next("client", call)) for call in calls]  # type: ignore[arg-type]  # it only reads
    await asyncio.sleep(0)
    for call in calls:
        call.here.set_result(None)
    await waiting[0]
    waiting[1].cancel()

    assert await waiting[2] == "stays"
    assert waiting[1].cancelled()
    assert [name for name, _, _ in handed_over] == ["first", "leaves", "stays"]


async def test_what_comes_at_once_waits_for_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.reading._AT_ONCE_S", 60.0)
    monkeypatch.setattr(Turns, "put", lambda *_: pytest.fail("it waits"))
    handed_over: list[tuple[str, float, float]] = []
    reading = Reading()
    for name in ("long", "short"):
        call = Long(name, handed_over)
        call.here.set_result(None)
        assert await reading.next("client", call) == name  # type: ignore[arg-type]  # it only reads
