"""What docs/callers.md says of connections: pings, compression, sizes, against a real port and byte by byte."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple
from unittest import mock

import grpc
import pytest
from grpc import aio
from PIL import Image

from amulet_client.connection import MESSAGE_BYTES_MAX, ConnectionOptions, channel_options
from gateway.intake.formats import PhotoLimits
from gateway.messages import UNPACKED_BYTES_FREE, UNPACKED_BYTES_MAX, UNPACKED_RATIO_MAX, WORDS_BYTES_MAX, unpacked
from gateway.server import _options
from gateway.settings import Settings
from protos.amulet.v1 import prediction_pb2 as pb
from tests import http2
from tests.http2 import Connection
from tests.pages import ROOT
from tests.unit.gateway.cast import SOMCHAI, Gateway, encoded, photo, policy, running_gateway, until

# RFC 9113: types of frames, and the error that says "you send too much of it".
SETTINGS, PING, GOAWAY = 0x4, 0x6, 0x7
ACK: Final = 0x1
ENHANCE_YOUR_CALM: Final = 0xB
STRIKES: Final = 3  # as the page says


class Frame(NamedTuple):
    kind: int
    flags: int
    payload: bytes


class Wire:
    """One HTTP/2 connection, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, kind: int, payload: bytes = b"", flags: int = 0) -> None:
        self._writer.write(len(payload).to_bytes(3) + bytes([kind, flags]) + bytes(4) + payload)

    async def receive(self) -> Frame:
        """Raises IncompleteReadError when the connection is closed."""
        head = await asyncio.wait_for(self._reader.readexactly(9), 30)
        payload = await asyncio.wait_for(self._reader.readexactly(int.from_bytes(head[:3])), 30)
        if head[3] == SETTINGS and not head[4] & ACK:
            self.send(SETTINGS, flags=ACK)
        return Frame(head[3], head[4], payload)

    async def is_closed(self) -> bool:
        """After what it still had to say."""
        try:
            while True:
                await self.receive()
        except (asyncio.IncompleteReadError, ConnectionError):
            return True

    async def ping(self) -> Frame:
        """The answer to a ping: its acknowledgement, or that the connection ends."""
        self.send(PING, b"pingping")
        while True:
            frame = await self.receive()
            if frame.kind == GOAWAY or (frame.kind == PING and frame.flags & ACK):
                return frame


@asynccontextmanager
async def connected(gateway: Gateway) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.listening.grpc_port)
    try:
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        wire = Wire(reader, writer)
        wire.send(SETTINGS)
        yield wire
    finally:
        writer.close()


async def test_who_pings_too_often_is_told_so_and_loses_that_connection_alone(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway, connected(gateway) as calm:
        assert (await calm.ping()).kind == PING  # one is welcome, also while no call is under way
        async with connected(gateway) as hasty:
            answers = [await hasty.ping()]
            while answers[-1].kind == PING:
                answers.append(await hasty.ping())
            assert await hasty.is_closed()

        goaway = answers[-1]
        assert struct.unpack(">I", goaway.payload[4:8])[0] == ENHANCE_YOUR_CALM
        assert goaway.payload[8:] == b"too_many_pings"
        # The first is in time, so many too soon are borne; what the server itself has to send at first may forgive one.
        assert STRIKES + 2 <= len(answers) <= STRIKES + 3
        assert (await calm.ping()).kind == PING
        assert (await gateway.predict(photo())).prediction_id


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_compressed_request_is_answered_as_a_plain_one(tmp_path: Path, algorithm: grpc.Compression) -> None:
    roomy = encoded(Image.open(BytesIO(photo())), "PNG", compress_level=0)
    request = pb.PredictRequest(views=[pb.View(photo=roomy)])
    came: list[int] = []

    def counted(content: bytes) -> bytes:
        came.append(len(content))
        return unpacked(content)

    with mock.patch("gateway.messages.unpacked", counted):
        async with running_gateway(tmp_path, policy=policy()) as gateway:
            plain = await gateway.stub.Predict(request, metadata=SOMCHAI.metadata)
            call = gateway.stub.Predict(request, metadata=SOMCHAI.metadata, compression=algorithm)
            packed = await call
            answered_in = dict(await call.initial_metadata()).get("grpc-encoding", "identity")

    assert packed.candidates == plain.candidates
    assert came[-1] < len(roomy) < came[-2]  # else the library had sent both as they are
    assert answered_in == "identity"  # answers are not compressed


def test_our_own_client_keeps_what_is_asked_of_callers() -> None:
    ours = dict(channel_options(ConnectionOptions("localhost:7443", SOMCHAI.text)))
    asked = dict(_options(PhotoLimits(), connections_max=Settings.model_fields["connections_max"].default))

    assert ours["grpc.keepalive_time_ms"] >= asked["grpc.http2.min_ping_interval_without_data_ms"]
    assert "grpc.keepalive_permit_without_calls" not in ours
    assert asked["grpc.max_send_message_length"] <= MESSAGE_BYTES_MAX == asked["grpc.max_receive_message_length"]


def test_the_page_says_what_the_server_enforces() -> None:
    page = " ".join(
        (ROOT / "docs/callers.md").read_text("utf-8").split("\n## Connections\n")[1].split("\n## ")[0].split()
    )
    asked = dict(_options(PhotoLimits(), connections_max=Settings.model_fields["connections_max"].default))

    for sentence in (
        f"at most every {asked['grpc.http2.min_ping_interval_without_data_ms'] // 1000} seconds",
        f"more than {asked['grpc.http2.max_ping_strikes']} that come sooner",
        f"{asked['grpc.max_receive_message_length'] // 2**20} MiB to the gateway",
        f"{asked['grpc.max_send_message_length'] // 2**20} MiB from it",
        f"{asked['grpc.max_metadata_size'] // 1024} KiB of metadata",
        f"up to {UNPACKED_BYTES_FREE // 2**20} MiB unpacked however well it packs, beyond that up to "
        f"{UNPACKED_RATIO_MAX} times what came and {UNPACKED_BYTES_MAX // 2**20} MiB",
        f"{WORDS_BYTES_MAX // 1024} KiB of every message without photographs",
        f"{asked['grpc.max_concurrent_streams']} calls at once",
        f"{asked['grpc.max_connection_age_ms'] // 60_000} minutes",
        f"{asked['grpc.server_handshake_timeout_ms'] // 1000} seconds for the handshake",
        f"{asked['grpc.http2.settings_timeout'] // 1000} seconds until its settings are acknowledged",
        f"{asked['grpc.max_allowed_incoming_connections']} connections of all callers",
    ):
        assert sentence in page


async def test_metadata_beyond_its_bound_is_refused_and_the_connection_stays(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, policy=policy()) as gateway:
        with pytest.raises(aio.AioRpcError) as error:
            await gateway.predict(photo(), metadata=(*SOMCHAI.metadata, ("x-long", "a" * 40_000)))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await gateway.predict(photo())).prediction_id


async def test_metadata_that_came_before_our_settings_were_acknowledged_is_not_held(tmp_path: Path) -> None:
    """A stranger's watch, whose metadata would be held for as long as it is open. gRPC itself lets it pass."""
    async with (
        running_gateway(tmp_path, policy=policy()) as gateway,
        Connection.to(gateway.listening.grpc_port, acknowledging=False) as connection,
        asyncio.timeout(30),
    ):

        async def watch(*metadata: tuple[str, str]) -> int:
            stream = connection.begin(http2.call_fields("/grpc.health.v1.Health/Watch", *metadata))
            await connection.give(stream, http2.message(b""))
            return stream

        long = await watch(("x-long", "a" * 17_000))  # much more, and gRPC refuses it now and then
        end = await connection.end_of(long)
        welcome = await watch()
        connection.send(SETTINGS, flags=ACK)
        await until(lambda: is_open(gateway), what="the watch without metadata is open")

        assert b"the metadata has 17" in end
        assert welcome not in connection.ended


async def is_open(gateway: Gateway) -> bool:
    return await gateway.metric("amulet_streams_open_without_key") == 1


async def test_metadata_beyond_its_bound_does_not_reach_us_whatever_client_sends_it(tmp_path: Path) -> None:
    """gRPC's own clients refuse it before it is sent."""
    async with (
        running_gateway(tmp_path, policy=policy()) as gateway,
        Connection.to(gateway.listening.grpc_port) as connection,
        asyncio.timeout(30),
    ):
        await connection.until_bounded()

        async def end_of(*metadata: tuple[str, str]) -> bytes:
            fields = http2.call_fields("/amulet.v1.PredictionService/Predict", ("x-api-key", SOMCHAI.text), *metadata)
            stream = connection.begin(fields)
            await connection.give(stream, http2.message(b""))
            return await connection.end_of(stream)

        assert b"x-request-id" in await end_of(("x-long", "a" * 8_000))
        refused = await end_of(("x-long", "a" * 60_000))
        assert b"metadata size" in refused
        assert b"x-request-id" not in refused
        assert b"x-request-id" in await end_of()


async def test_connections_beyond_what_is_set_are_closed(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, policy=policy(), connections_max=16) as gateway,
        AsyncExitStack() as open_ones,
        asyncio.timeout(30),
    ):
        taken = []
        for _ in range(24):
            connection = await open_ones.enter_async_context(Connection.to(gateway.listening.grpc_port))
            await connection.until_bounded()
            taken.append(not connection.closed)

    assert taken[:14] == [True] * 14  # the test's own channel has one
    assert taken[16:] == [False] * 8
