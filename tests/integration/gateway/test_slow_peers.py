"""Peers that begin and take their time, over TLS: half a handshake, a byte now and then, or nothing at all."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import psutil
import pytest

from cli.layout import Layout
from cli.provision import provision
from tests import http2
from tests.integration.gateway.process import GatewayProcess, memory_of, until
from tests.integration.gateway.test_processes import answers
from tests.unit.gateway.cast import SOMCHAI, Console, client, environment_for, policy

EACH: Final = 50
HANDSHAKES: Final = 8  # side by side
BORNE_S_MAX: Final = 30.0  # ten seconds for a handshake, on a busy machine; gRPC alone gives two minutes
BACK_S_MAX: Final = 30.0
BYTE_EVERY_S: Final = 0.5
# One TLS connection takes some 60 KiB.
HELD_MIB_MAX: Final = 60
OPENING: Final = http2.PREFACE + bytes(3) + bytes([http2.SETTINGS, 0]) + bytes(4)
ACKNOWLEDGED: Final = bytes(3) + bytes([http2.SETTINGS, http2.ACK]) + bytes(4)
CALL: Final = http2.call_fields("/amulet.v1.PredictionService/GetModel", ("x-api-key", SOMCHAI.text))
HEADERS: Final = len(CALL).to_bytes(3) + bytes([http2.HEADERS, http2.END_HEADERS]) + (1).to_bytes(4) + CALL


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def client_hello() -> bytes:
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        trusting().wrap_bio(received, sent, server_hostname="localhost").do_handshake()
    return sent.read()


@dataclass(frozen=True)
class Kind:
    """What a slow peer does: say one thing at once, and another a byte at a time, and then wait."""

    name: str
    encrypted: bool  # its handshake of TLS is whole
    at_once: bytes = b""
    slowly: bytes = b""


HALF: Final = (
    Kind("says nothing", encrypted=False),
    Kind("a slow hello", encrypted=False, slowly=client_hello()),
    Kind("no preface", encrypted=True),
    Kind("a slow preface", encrypted=True, slowly=OPENING),
    Kind("acknowledges nothing", encrypted=True, at_once=OPENING, slowly=HEADERS),
)
BEGUN: Final = (
    Kind("idle", encrypted=True, at_once=OPENING + ACKNOWLEDGED),
    Kind("a slow call", encrypted=True, at_once=OPENING + ACKNOWLEDGED, slowly=HEADERS[:40]),
)
# What a gateway bears for half an hour, for two seconds.
SOON_IDLE: Final = """
import runpy, gateway.server as server
guarded = server._options
soon = {"grpc.max_connection_idle_ms": 2_000}
server._options = lambda limits, **more: tuple((key, soon.get(key, value)) for key, value in guarded(limits, **more))
runpy.run_module("gateway", run_name="__main__")
"""


@dataclass
class Peers:
    port: int
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    open: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)  # by the gateway
    borne_s: float = 0.0  # the longest that one was
    tls: ssl.SSLContext = field(default_factory=trusting)
    # A handshake that waits for four hundred others of this loop would not be over when its ten seconds are.
    handshakes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HANDSHAKES))

    async def all(self, kinds: tuple[Kind, ...], each: int) -> None:
        peers = [asyncio.create_task(self._one(kind)) for kind in kinds for _ in range(each)]
        await self.leave.wait()
        for peer in peers:
            peer.cancel()
        await asyncio.gather(*peers, return_exceptions=True)

    async def _one(self, kind: Kind) -> None:
        tls = {"ssl": self.tls, "server_hostname": "localhost"} if kind.encrypted else {}
        async with self.handshakes:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **tls)  # type: ignore[arg-type]  # two of many
        began_s = time.monotonic()
        self.open[kind.name] += 1
        gone = asyncio.create_task(_until_closed(reader))
        try:
            writer.write(kind.at_once)
            for byte in kind.slowly:
                if gone.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.wait([gone], timeout=BYTE_EVERY_S)
            await gone
            self.closed[kind.name] += 1
            self.borne_s = max(self.borne_s, time.monotonic() - began_s)
        finally:
            gone.cancel()
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(4096):
            pass


@contextmanager
def beside(gateway: GatewayProcess, kinds: tuple[Kind, ...], each: int) -> Iterator[Peers]:
    """So many of each kind, from a thread of their own; they have left when this ends."""
    loop, peers = asyncio.new_event_loop(), Peers(gateway.grpc_port)
    thread = threading.Thread(target=lambda: loop.run_until_complete(peers.all(kinds, each)))
    thread.start()
    try:
        until(lambda: sum(peers.open.values()) == each * len(kinds), s_max=60, what="they are connected")
        yield peers
    finally:
        loop.call_soon_threadsafe(peers.leave.set)
        thread.join()
        loop.close()


@dataclass(frozen=True)
class Encrypted:
    """A gateway process behind TLS, and what a caller trusts."""

    process: GatewayProcess
    authority: bytes
    rest_fds: int

    def answers_a_new_connection(self) -> bool:
        with grpc.secure_channel(self.process.target, grpc.ssl_channel_credentials(self.authority)) as channel:
            return answers(channel)

    def is_back(self) -> bool:
        return psutil.Process(self.process.process.pid).num_fds() <= self.rest_fds + 4


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Encrypted]:
    with encrypted(tmp_path) as found:
        yield found


@contextmanager
def encrypted(tmp_path: Path, *program: str) -> Iterator[Encrypted]:
    layout = Layout.of(tmp_path / "stack")
    provision(layout)
    certificate = {"AMULET_TLS_CERT": f"{layout.tls / 'server.pem'}", "AMULET_TLS_KEY": f"{layout.tls / 'server.key'}"}
    with Console(policy(clients=[client(SOMCHAI, calls_per_minute=100_000)])) as console:
        variables = environment_for(tmp_path, console) | certificate | {"AMULET_INSECURE": ""}
        with GatewayProcess(variables, tmp_path / "gateway.log", program or ("-m", "gateway")) as process:
            authority = layout.tls_ca.read_bytes()
            found = Encrypted(process, authority, 0)
            until(found.answers_a_new_connection, s_max=30, what="the policy is heard")
            yield Encrypted(process, authority, psutil.Process(process.process.pid).num_fds())


def test_who_does_not_finish_a_handshake_is_sent_away_and_others_come_in_meanwhile(gateway: Encrypted) -> None:
    outcomes = Counter[bool]()
    with beside(gateway.process, HALF, EACH) as peers:

        def all_are_closed() -> bool:
            outcomes[gateway.answers_a_new_connection()] += 1
            return sum(peers.closed.values()) == EACH * len(HALF)

        until(all_are_closed, s_max=2 * BORNE_S_MAX, what="they are sent away")
        borne_s = peers.borne_s
        until(gateway.is_back, s_max=BACK_S_MAX, what="descriptors are back")

    print(f"borne {borne_s:.1f} s, {dict(outcomes)}")
    assert borne_s < BORNE_S_MAX
    assert set(outcomes) == {True}


def test_connections_that_do_nothing_or_next_to_nothing_hold_little_and_keep_nobody_out(gateway: Encrypted) -> None:
    each = 200
    with memory_of(gateway.process) as grown_mib, beside(gateway.process, BEGUN, each) as peers:
        outcomes = Counter(gateway.answers_a_new_connection() for _ in range(20))
        closed, took_mib = sum(peers.closed.values()), grown_mib()
    until(gateway.is_back, s_max=BACK_S_MAX, what="descriptors are back")

    print(f"grown {took_mib:.0f} MiB for {each * len(BEGUN)}")
    assert outcomes == {True: 20}
    assert closed == 0
    assert took_mib < HELD_MIB_MAX


def test_headers_that_trickle_last_no_longer_than_a_connection_without_a_call(tmp_path: Path) -> None:
    """Keepalive counts from the last byte that came, so that it ends none that says something; the bound is another."""
    trickling = BEGUN[1]
    with encrypted(tmp_path, "-c", SOON_IDLE) as gateway, beside(gateway.process, (trickling,), 1) as peers:
        until(lambda: peers.closed[trickling.name] == 1, s_max=BORNE_S_MAX, what="it is sent away")
        borne_s = peers.borne_s
    print(f"borne {borne_s:.1f} s of the {BYTE_EVERY_S * len(trickling.slowly):.0f} s that its headers take")
    assert borne_s < BYTE_EVERY_S * len(trickling.slowly)
