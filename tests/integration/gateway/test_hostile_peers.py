"""Peers that mean no good, beside honest ones, against a gateway process."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import psutil
import pytest

from amulet_client import Client, Refused, Unreachable
from tests import http2
from tests.http2 import Connection
from tests.integration.gateway.conftest import environment
from tests.integration.gateway.process import GatewayProcess, memory_of, until
from tests.integration.gateway.test_processes import answers
from tests.integration.torchserve.server import RunningTorchServe
from tests.machine import Call
from tests.unit.gateway.cast import SOMCHAI, ApiKey, Console, client, environment_for, new_key, photo, policy

MIB: Final = 2**20
PREDICT: Final = "/amulet.v1.PredictionService/Predict"
GET_MODEL: Final = "/amulet.v1.PredictionService/GetModel"
HOSTILE: Final = new_key()
KEY: Final = ("x-api-key", HOSTILE.text)
BOMBS: Final = 100
GROWTH_MIB_MAX: Final = 200
HONEST: Final = [new_key() for _ in range(20)]
CALLS_EACH: Final = 20
HALF_CONNECTIONS: Final = 60
KINDS: Final = ("resets", "pings", "long metadata", "answers not read", "bombs")
PACE_S: Final = 0.001  # of the quickest attacks: what they take of this machine, nobody else has
BACK_S_MAX: Final = 30.0
CONNECTIONS_MAX: Final = 64
HOLDING: Final = 12  # connections, of some 17 MiB each
BORNE_S_MAX: Final = 30.0  # ten seconds for acknowledging settings, on a busy machine; gRPC alone gives a minute
# gRPC unpacks what comes packed, as it does where nobody tells it not to.
UNGUARDED: Final = """
import runpy, gateway.server as server
guarded = server._options
server._options = lambda limits, **more: tuple(
    one for one in guarded(limits, **more) if one[0] != "grpc.per_message_decompression"
)
runpy.run_module("gateway", run_name="__main__")
"""

# Nor does it bound metadata, or end a connection over its pings.
TOLD_NOTHING: Final = """
import runpy, gateway.server as server
guarded = server._options
loose = {"grpc.max_metadata_size": 2**20, "grpc.http2.max_ping_strikes": 0}
server._options = lambda limits, **more: tuple((key, loose.get(key, value)) for key, value in guarded(limits, **more))
runpy.run_module("gateway", run_name="__main__")
"""
PINGS: Final = 500  # many times what a guarded gateway bears


def bomb(mebibytes: int) -> bytes:
    """A message of gRPC that is so many mebibytes of zeros in gzip."""
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    content = b"".join([*(packer.compress(bytes(MIB)) for _ in range(mebibytes)), packer.flush()])
    return http2.message(content, packed=True)


async def send_at_once(port: int, content: bytes, times: int) -> list[bytes]:
    """Each over a connection of its own: the fields that each call ended with."""
    block = http2.call_fields(PREDICT, ("grpc-encoding", "gzip"), KEY)

    async def one() -> bytes:
        async with Connection.to(port) as connection:
            stream = connection.begin(block)
            await connection.give(stream, content)
            return await connection.end_of(stream)

    async with asyncio.timeout(300):
        return await asyncio.gather(*(one() for _ in range(times)))


@pytest.fixture
def open_policy() -> Iterator[Console]:
    often = {"calls_per_minute": 1_000_000}
    clients = [client(SOMCHAI, **often), client(HOSTILE, client_id="client-hostile", **often)]
    clients += [client(key, client_id=f"client-{number}", **often) for number, key in enumerate(HONEST)]
    with Console(policy(clients=clients)) as console:
        yield console


@contextmanager
def alone(folder: Path, console: Console, *program: str, **variables: str) -> Iterator[GatewayProcess]:
    """A gateway without a model server: what is refused at the door needs none."""
    variables = environment_for(folder, console) | variables
    with (
        GatewayProcess(variables, folder / "gateway.log", program or ("-m", "gateway")) as gateway,
        grpc.insecure_channel(gateway.target) as channel,
    ):
        until(lambda: answers(channel), s_max=30, what="the policy is heard")
        yield gateway


def test_a_gibibyte_of_zeros_in_a_packed_message_is_refused_and_a_hundred_at_once_are(
    tmp_path: Path, open_policy: Console
) -> None:
    content = bomb(1024)
    assert len(content) < 2 * MIB
    one_by_one, took_s = list[bytes](), list[float]()
    with alone(tmp_path, open_policy, AMULET_REQUEST_S_MAX="300") as gateway:
        for _ in range(5):
            call = Call(psutil.Process(gateway.process.pid))
            one_by_one += asyncio.run(send_at_once(gateway.grpc_port, content, 1))
            took_s.append(call.took_s())
        with memory_of(gateway) as grown_mib:
            ends = asyncio.run(send_at_once(gateway.grpc_port, content, BOMBS))
            took_mib = grown_mib()
        said = gateway.lines()

    print(f"grown {took_mib:.0f} MiB, one by one {[round(s * 1000) for s in took_s]} ms")
    assert all(b"grpc-status" in end for end in (*one_by_one, *ends))
    refused = [line for line in said if line["event"] == "call" and line["client_id"] == "client-hostile"]
    # Of those at once some may find no place: then they are told to wait, and nothing of them is unpacked.
    assert {line["code"] for line in refused} <= {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
    assert len(refused) == BOMBS + len(one_by_one)
    assert min(took_s) < 0.2
    assert took_mib < GROWTH_MIB_MAX


def test_where_grpc_unpacks_by_itself_that_is_noticed(tmp_path: Path, open_policy: Console) -> None:
    """Negative control of the test above."""
    with alone(tmp_path, open_policy, "-c", UNGUARDED) as gateway, memory_of(gateway) as grown_mib:
        asyncio.run(send_at_once(gateway.grpc_port, bomb(150), 4))
        assert grown_mib() > GROWTH_MIB_MAX


@dataclass
class Attack:
    """What hostile peers did until they were told to leave."""

    port: int
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    done: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def connected(self, **options: bytes) -> AsyncIterator[Connection]:
        with suppress(OSError, TimeoutError):
            async with Connection.to(self.port, **options) as connection:  # type: ignore[arg-type]  # settings alone
                yield connection

    async def reset_rapidly(self) -> None:
        """CVE-2023-44487: streams that are taken back as soon as they began."""
        block = http2.call_fields(PREDICT, KEY)
        while not self.leave.is_set():
            async with self.connected() as connection:
                while not (self.leave.is_set() or connection.closed):
                    for _ in range(20):
                        connection.send(http2.RST_STREAM, http2.CANCEL, stream=connection.begin(block))
                    self.done["resets"] += 20
                    await connection.drain()
                    await asyncio.sleep(PACE_S)

    async def flood_with_pings(self) -> None:
        while not self.leave.is_set():
            self.done["connections for pings"] += 1
            async with self.connected() as connection:
                while not (self.leave.is_set() or connection.closed):
                    connection.send(http2.PING, b"pingping")
                    self.done["pings"] += 1
                    await connection.drain()
                    await asyncio.sleep(PACE_S)

    async def send_long_metadata(self) -> None:
        block = http2.call_fields(PREDICT, ("x-long", "a" * 60_000), KEY)
        while not self.leave.is_set():
            async with self.connected() as connection:
                await self._until_left(connection.until_bounded())
                while not (self.leave.is_set() or connection.closed):
                    stream = connection.begin(block)
                    await self._until_left(connection.give(stream, http2.message(b"")))
                    await self._until_left(connection.end_of(stream))
                    end = connection.ended.get(stream, b"")
                    self.done["long metadata"] += 1
                    self.done["long metadata that was read"] += b"x-request-id" in end  # it came to our own door

    async def never_read(self) -> None:
        """Calls that ask for much and let nothing be sent."""
        window = struct.pack(">HI", http2.INITIAL_WINDOW_SIZE, 0)
        async with self.connected(settings=window) as connection:
            for _ in range(100):
                stream = connection.begin(http2.call_fields(GET_MODEL, KEY))
                await connection.give(stream, http2.message(b""))
                self.done["answers not read"] += 1
            await self.leave.wait()

    async def begin_and_say_nothing(self) -> None:
        """A connection that never becomes one of HTTP/2, over and over."""
        while not self.leave.is_set():
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(http2.PREFACE[:7])
                await self._until_left(_all_of(reader))
                self.done["half connections closed"] += not self.leave.is_set()
                writer.close()

    async def send_bombs(self) -> None:
        content, block = bomb(64), http2.call_fields(PREDICT, ("grpc-encoding", "gzip"), KEY)
        while not self.leave.is_set():
            async with self.connected() as connection:
                stream = connection.begin(block)
                await self._until_left(connection.give(stream, content))
                await self._until_left(connection.end_of(stream))
                self.done["bombs"] += 1

    async def _until_left(self, work: Awaitable[object]) -> None:
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self.leave.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def all_at_once(self) -> None:
        attacks = [
            *(self.reset_rapidly for _ in range(2)), *(self.flood_with_pings for _ in range(2)),
            *(self.send_long_metadata for _ in range(2)), *(self.never_read for _ in range(4)),
            *(self.begin_and_say_nothing for _ in range(HALF_CONNECTIONS)), self.send_bombs,
        ]  # fmt: skip
        await asyncio.gather(*(attack() for attack in attacks))


async def _all_of(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(4096):
            pass


@contextmanager
def attacked(gateway: GatewayProcess) -> Iterator[Attack]:
    """From a thread of their own; they have left when this ends."""
    loop, begun = asyncio.new_event_loop(), threading.Event()
    attack = Attack(gateway.grpc_port)

    def run() -> None:
        loop.call_soon(begun.set)
        loop.run_until_complete(attack.all_at_once())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        begun.wait()
        yield attack
    finally:
        loop.call_soon_threadsafe(attack.leave.set)
        thread.join()


def honest_calls(target: str, key: ApiKey, outcomes: Counter[str]) -> None:
    """One client that calls again when it is told to, as the page for callers says."""
    with Client(target, api_key=key.text, plaintext=True, timeout_s=20, wait_s_max=20) as client:
        content = photo(seed=1)
        for _ in range(CALLS_EACH):
            try:
                outcomes["OK" if client.predict([content]).prediction_id else "no id"] += 1
            except (Refused, Unreachable) as error:
                outcomes[str(error)] += 1


@pytest.mark.torchserve
def test_honest_callers_are_answered_beside_hostile_peers_and_nothing_of_those_stays(
    tmp_path: Path, server: RunningTorchServe, open_policy: Console
) -> None:
    with GatewayProcess(environment(tmp_path, server, open_policy), tmp_path / "gateway.log") as gateway:
        until(lambda: gateway.page("/readyz")[0] == 200, s_max=60, what="the gateway is ready")
        process, outcomes = psutil.Process(gateway.process.pid), Counter[str]()
        for colour in ("red", "green", "blue") * 10:
            gateway.predict(photo(colour))
        before_mib, before_fds = process.memory_info().rss / MIB, process.num_fds()
        with attacked(gateway) as attack, ThreadPoolExecutor(len(HONEST)) as callers:
            until(lambda: all(attack.done[kind] for kind in KINDS), s_max=30, what="the attack goes on")
            for each in [callers.submit(honest_calls, gateway.target, key, outcomes) for key in HONEST]:
                each.result()
            # The others are done with when the ten seconds for a handshake are over.
            until(lambda: attack.done["half connections closed"] >= HALF_CONNECTIONS, s_max=30, what="they are closed")
            under_attack = attack.done.copy()

        def is_back() -> bool:
            return process.memory_info().rss / MIB - before_mib < 50 and process.num_fds() - before_fds < 10

        back_s = until(is_back, s_max=BACK_S_MAX, what="memory and descriptors are back")
        print(f"{dict(under_attack)}; {dict(outcomes)}; back after {back_s:.1f} s")
        assert under_attack["connections for pings"] > 2  # of each of the two, the first was closed
        assert under_attack["long metadata that was read"] == 0
        assert outcomes["OK"] >= 0.99 * len(HONEST) * CALLS_EACH, outcomes
        assert gateway.predict(photo()).prediction_id


def test_where_grpc_is_told_nothing_of_hostile_peers_that_is_noticed(tmp_path: Path, open_policy: Console) -> None:
    """Negative control of the test above: long metadata comes in, and nobody who pings is sent away."""
    with alone(tmp_path, open_policy, "-c", TOLD_NOTHING) as gateway, attacked(gateway) as attack:
        until(lambda: attack.done["long metadata that was read"] > 0, s_max=60, what="long metadata comes in")
        until(lambda: attack.done["pings"] > PINGS, s_max=60, what="pings come in")
        assert attack.done["connections for pings"] == 2


def endless_block() -> bytes:
    """What begins a call with metadata that is as long as gRPC takes from whoever has not acknowledged its settings."""
    return http2.call_fields(PREDICT, *((f"x-long-{number}", "a" * 60_000) for number in range(15 * MIB // 60_000)))


async def hold_metadata(port: int, connections: int) -> list[float]:
    """Each connection begins such a block, acknowledges nothing and never ends it. How many seconds each was borne."""
    block = endless_block()
    frames = [block[place : place + 16_384] for place in range(0, len(block), 16_384)]

    async def one() -> float:
        began_s = time.monotonic()
        async with Connection.to(port, acknowledging=False) as connection:
            with suppress(OSError):
                for number, frame in enumerate(frames):
                    connection.send(http2.CONTINUATION if number else http2.HEADERS, frame, stream=1)
                    await connection.drain()
            await connection.until_closed()
        return time.monotonic() - began_s

    async with asyncio.timeout(300):
        return await asyncio.gather(*(one() for _ in range(connections)))


def test_who_acknowledges_no_settings_holds_memory_for_seconds(tmp_path: Path, open_policy: Console) -> None:
    """Until then gRPC takes 16 MiB of metadata, whatever it is told: that is borne for no longer than a handshake."""
    with alone(tmp_path, open_policy) as gateway:
        process = psutil.Process(gateway.process.pid)
        before_mib = process.memory_info().rss / MIB
        with memory_of(gateway) as grown_mib:
            borne_s = asyncio.run(hold_metadata(gateway.grpc_port, HOLDING))
            took_mib = grown_mib()
        back_s = until(
            lambda: process.memory_info().rss / MIB - before_mib < 64, s_max=BACK_S_MAX, what="memory is back"
        )

    print(f"grown {took_mib:.0f} MiB, borne {max(borne_s):.1f} s, back after {back_s:.1f} s")
    assert took_mib > HOLDING * 10  # else nothing was held
    assert max(borne_s) < BORNE_S_MAX


def test_connections_beyond_their_bound_are_closed_and_a_place_that_is_left_is_free(
    tmp_path: Path, open_policy: Console
) -> None:
    async def is_taken(stack: AsyncExitStack, port: int) -> bool:
        connection = await stack.enter_async_context(Connection.to(port))
        await connection.until_bounded()
        return not connection.closed

    async def comes_and_goes(port: int) -> tuple[list[bool], bool]:
        async with asyncio.timeout(300), AsyncExitStack() as others:
            async with AsyncExitStack() as first:
                taken = [await is_taken(first, port)]
                # The policy is heard over one of the test's own.
                taken += [await is_taken(others, port) for _ in range(CONNECTIONS_MAX + 8)]
            while not (again := await is_taken(others, port)):
                pass
        return taken, again

    with alone(tmp_path, open_policy, AMULET_CONNECTIONS_MAX=f"{CONNECTIONS_MAX}") as gateway:
        taken, again = asyncio.run(comes_and_goes(gateway.grpc_port))

    assert CONNECTIONS_MAX - 2 <= sum(taken) <= CONNECTIONS_MAX
    assert taken[: CONNECTIONS_MAX - 2] == [True] * (CONNECTIONS_MAX - 2)
    assert again
